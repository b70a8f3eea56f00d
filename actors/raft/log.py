"""A member's log: two columns, terms and payloads, not an object an entry."""

from bisect import bisect_right


class Log:
    """Entries base_index + 1 .. last_index; what lies at or before base_index is in a snapshot."""

    __slots__ = ("base_index", "base_term", "last_index", "last_term", "_terms", "_payloads")

    def __init__(
        self,
        first_index: int = 1,
        base_term: int = 0,
        terms: tuple[int, ...] = (),
        payloads: tuple[bytes, ...] = (),
    ) -> None:
        assert len(terms) == len(payloads), "an entry has a term and a payload"
        self.base_index = first_index - 1
        self.base_term = base_term
        self._terms = list(terms)
        self._payloads = list(payloads)
        self.last_index = self.base_index + len(terms)
        self.last_term = terms[-1] if terms else base_term

    @property
    def first_index(self) -> int:
        return self.base_index + 1

    def term_at(self, index: int) -> int:
        """The term of an entry, also of the last one that was compacted away; -1 where nothing is known."""
        position = index - self.base_index - 1
        if 0 <= position < len(self._terms):
            return self._terms[position]
        return self.base_term if position == -1 else -1

    def append(self, terms: tuple[int, ...], payloads: tuple[bytes, ...]) -> None:
        self._terms.extend(terms)
        self._payloads.extend(payloads)
        self.last_index += len(terms)
        self.last_term = terms[-1]

    def truncate(self, index: int) -> None:
        """Forgets the entry at index and all after it."""
        keep = index - self.base_index - 1
        assert keep >= 0, "what a snapshot holds cannot be taken back"
        del self._terms[keep:]
        del self._payloads[keep:]
        self.last_index = index - 1
        self.last_term = self._terms[-1] if self._terms else self.base_term

    def compact(self, keep_from: int) -> None:
        """Forgets the entries before keep_from, which a snapshot holds; the last one's term is remembered."""
        forget = keep_from - self.base_index - 1
        assert 0 <= forget <= len(self._terms), "only what is there can be forgotten"
        self.base_term = self.term_at(keep_from - 1)
        self.base_index = keep_from - 1
        del self._terms[:forget]
        del self._payloads[:forget]

    def restart(self, index: int, term: int) -> None:
        """Begins anew after the entry at index, which is the last that a snapshot holds."""
        self._terms.clear()
        self._payloads.clear()
        self.base_index = self.last_index = index
        self.base_term = self.last_term = term

    def entries(self, low: int, high: int) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """The columns of the entries low .. high - 1, cut to what there is."""
        offset = self.base_index + 1
        start, stop = low - offset, high - offset
        if start < 0:
            start, stop = 0, max(stop, 0)
        if stop - start == 1 and stop <= len(self._terms):
            return (self._terms[start],), (self._payloads[start],)
        return tuple(self._terms[start:stop]), tuple(self._payloads[start:stop])

    def first_conflict(self, index: int, terms: tuple[int, ...]) -> int:
        """The first of the entries index, index + 1, … whose term differs from ours or that we lack."""
        start = index - self.base_index - 1
        ours = self._terms[start : start + len(terms)]
        if ours == list(terms[: len(ours)]):
            return index + len(ours)
        return index + next(
            i for i, (mine, theirs) in enumerate(zip(ours, terms, strict=False)) if mine != theirs
        )

    def last_not_after(self, term: int, index: int) -> int:
        """The last entry up to index whose term is at most `term`: terms never fall, so a search by halves finds it.

        What was compacted away is not looked into: an index before the log is given back as it is.
        """
        if index < self.base_index:
            return index
        stop = max(min(index, self.last_index) - self.base_index, 0)
        return self.base_index + bisect_right(self._terms, term, 0, stop)

    def first_of_last(self, index: int, entries: int, size: int) -> int:
        """Where the longest run of entries begins that ends at index, has no more than so many entries, and payloads of
        no more than so many bytes; index + 1: there is none."""
        payloads, stop = self._payloads, index - self.base_index
        first = max(stop - entries, 0)
        for position in range(stop - 1, first - 1, -1):
            size -= len(payloads[position])
            if size < 0:
                first = position + 1
                break
        return self.base_index + 1 + first

    def is_behind(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends so is at least as up to date as ours: by term first, then by index (§3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)
