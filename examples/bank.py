"""A bank whose accounts are replicated: a state machine of your own, once in virtual time and once live.

Three members agree on every transfer. In the middle of the day the leader is cut off from the others, later it
crashes; tellers go on, and repeat what was not confirmed. In the end every transfer was made exactly once: the sum of
all accounts is what it was, and each teller's own account has what that teller paid in.

    python examples/bank.py
"""

import json
import logging
from typing import Any

from raftyard.actors import Live, MachineRaised, Replicated, System, Unavailable, Virtual

TELLERS = ("ann", "bob", "eve")


class Bank:
    """Accounts. The same commands in the same order give the same accounts on every member."""

    def __init__(self) -> None:
        self.accounts = {"vault": 1000} | dict.fromkeys(TELLERS, 0)

    def apply(self, command: list[Any]) -> int:
        """Move an amount; the answer is what is left. It looks before it changes anything."""
        source, target, amount = command
        if self.accounts[source] < amount:
            raise ValueError(f"{source} has only {self.accounts[source]}")
        self.accounts[source] -= amount
        self.accounts[target] += amount
        return self.accounts[source]

    def read(self, query: str | None) -> Any:
        """One account, or all of them."""
        return self.accounts if query is None else self.accounts[query]

    def snapshot(self) -> bytes:
        return json.dumps(self.accounts).encode()

    def restore(self, data: bytes) -> None:
        self.accounts = json.loads(data)


def day(system: System) -> str:
    """Thirty transfers of ten with two accidents among them; what came of it."""
    with Replicated(system, "bank", Bank) as bank:
        tellers = {name: bank.session(name) for name in TELLERS}
        repeated = 0
        for number in range(30):
            if number == 10:
                bank.isolate(str(bank.leader()))
            elif number == 20:
                bank.heal()
                bank.crash(str(bank.leader()))
            name = TELLERS[number % 3]
            try:

                tellers[name].call(("vault", name, 10), timeout_s=0.3)
            except Unavailable:  # no leader at the moment, or none that could confirm it in this time
                repeated += 1
                tellers[name].retry()  # the same number: it is made once, whether the first one was or not
        try:
            bank.call(("vault", "ann", 5000))
        except MachineRaised as error:
            print(f"    refused: {error}")
        accounts = [bank.read(member=member) for member in bank.members]
        assert accounts == [accounts[0]] * 3, "every member answers as of now"
        print(f"    not confirmed at first, and repeated: {'yes' if repeated else 'no'}")
        return f"{accounts[0]}, in all {sum(accounts[0].values())}"


def main() -> None:
    logging.disable()  # the crash of a member would be a traceback here
    with Virtual(seed=1) as system:
        print("virtual")
        print("   ", day(system))
    with Live() as system:
        print("live")
        print("   ", day(system))


if __name__ == "__main__":
    main()
