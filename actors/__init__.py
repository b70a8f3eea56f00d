"""Raftyard's actors: clusters, nodes and links, and the system that runs them, to embed in your own program.

The map is README.md in this folder. Names are loaded when first used, so that a command line or a pytest plugin that
imports this package does not wait for numpy and pykka:

    from raftyard.actors import Virtual

Type checkers read the imports below; `_NAMES` is the same list at run time (tests/test_public_names.py compares them).
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from .agent import Agent as Agent
    from .cluster import Cluster as Cluster, ClusterSettings as ClusterSettings, Home as Home, Ports as Ports
    from .errors import (
        Conflict as Conflict,
        InvalidRequest as InvalidRequest,
        MachineRaised as MachineRaised,
        NoLeader as NoLeader,
        PortInUse as PortInUse,
        QueueFull as QueueFull,
        RaftyardError as RaftyardError,
        SessionExpired as SessionExpired,
        StaleVersion as StaleVersion,
        TimedOut as TimedOut,
        Unavailable as Unavailable,
        UnknownCall as UnknownCall,
        UnknownCluster as UnknownCluster,
        UnknownNode as UnknownNode,
        UnknownService as UnknownService,
        UnknownStack as UnknownStack,
    )
    from .group import (
        Answered as Answered,
        ApplyCommand as ApplyCommand,
        Group as Group,
        ReadState as ReadState,
    )
    from .link import Link as Link
    from .machine import MachineMember as MachineMember, ReplicatedMachine as ReplicatedMachine
    from .member import Member as Member, Observer as Observer
    from .messages import (
        ORCHESTRATOR as ORCHESTRATOR,
        AddNodeRequest as AddNodeRequest,
        AskNode as AskNode,
        ChangeService as ChangeService,
        ChangeSettings as ChangeSettings,
        ChangeStack as ChangeStack,
        CreateClusterRequest as CreateClusterRequest,
        DescribeCall as DescribeCall,
        DescribeCluster as DescribeCluster,
        DescribeConnections as DescribeConnections,
        DescribeLinkRequest as DescribeLinkRequest,
        DescribePlan as DescribePlan,
        DescribeRebalance as DescribeRebalance,
        DescribeService as DescribeService,
        DescribeServices as DescribeServices,
        DescribeSettings as DescribeSettings,
        DescribeStack as DescribeStack,
        DescribeStacks as DescribeStacks,
        DescribeTasks as DescribeTasks,
        LinkPolicy as LinkPolicy,
        ListClusters as ListClusters,
        RebalanceRequest as RebalanceRequest,
        RemoveClusterRequest as RemoveClusterRequest,
        RemoveNodeRequest as RemoveNodeRequest,
        RemoveService as RemoveService,
        RemoveStack as RemoveStack,
        RollBackService as RollBackService,
        SetConnections as SetConnections,
        SetLinkPolicyRequest as SetLinkPolicyRequest,
        StopRebalance as StopRebalance,
        SubmitServiceCall as SubmitServiceCall,
        TransferRequest as TransferRequest,
        UpdateNodeRequest as UpdateNodeRequest,
        cluster_actor as cluster_actor,
    )
    from .node import Node as Node
    from .orchestrator import (
        Orchestrator as Orchestrator,
        OrchestratorSettings as OrchestratorSettings,
        first_cluster as first_cluster,
        start_orchestrator as start_orchestrator,
    )
    from .raft.config import RaftConfig as RaftConfig
    from .replicated import Replicated as Replicated, Session as Session
    from .system import (
        Actor as Actor,
        ActorCrashed as ActorCrashed,
        ActorError as ActorError,
        AskInHandler as AskInHandler,
        AskTimeout as AskTimeout,
        Context as Context,
        Event as Event,
        EventLog as EventLog,
        Live as Live,
        MailboxFull as MailboxFull,
        NameTaken as NameTaken,
        NoSuchActor as NoSuchActor,
        Probe as Probe,
        Promise as Promise,
        Restart as Restart,
        Statistics as Statistics,
        System as System,
        SystemClosed as SystemClosed,
        Terminated as Terminated,
        Timer as Timer,
        Traced as Traced,
        Virtual as Virtual,
    )

_NAMES = {
    "agent": "Agent",
    "cluster": "Cluster ClusterSettings Home Ports",
    "errors": (
        "Conflict InvalidRequest MachineRaised NoLeader PortInUse QueueFull RaftyardError SessionExpired StaleVersion "
        "TimedOut Unavailable UnknownCall UnknownCluster UnknownNode UnknownService UnknownStack"
    ),
    "group": "Answered ApplyCommand Group ReadState",
    "link": "Link",
    "machine": "MachineMember ReplicatedMachine",
    "member": "Member Observer",
    "messages": (
        "ORCHESTRATOR AddNodeRequest AskNode ChangeService ChangeSettings ChangeStack CreateClusterRequest "
        "DescribeCall DescribeCluster DescribeConnections DescribeLinkRequest DescribePlan DescribeRebalance "
        "DescribeService DescribeServices DescribeSettings DescribeStack DescribeStacks DescribeTasks LinkPolicy "
        "ListClusters RebalanceRequest RemoveClusterRequest RemoveNodeRequest RemoveService RemoveStack "
        "RollBackService SetConnections SetLinkPolicyRequest StopRebalance SubmitServiceCall TransferRequest "
        "UpdateNodeRequest cluster_actor"
    ),
    "node": "Node",
    "orchestrator": "Orchestrator OrchestratorSettings first_cluster start_orchestrator",
    "raft.config": "RaftConfig",
    "replicated": "Replicated Session",
    "system": (
        "Actor ActorCrashed ActorError AskInHandler AskTimeout Context Event EventLog Live "
        "MailboxFull NameTaken NoSuchActor Probe Promise Restart Statistics System SystemClosed "
        "Terminated Timer Traced Virtual"
    ),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = list(_HOME)

if not typing.TYPE_CHECKING:  # else a type checker would believe every name, misspelt ones too

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted(globals() | _HOME)
