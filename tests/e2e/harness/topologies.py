"""Redis with replicas: three sentinels over a primary and two replicas, and a cluster of three primaries with a replica each."""
import subprocess
import time

import redis

from .proc import Process, free_port, remove, wait_for, work_dir
from .redisd import Redis

REPLICA = ("--masteruser", "admin", "--masterauth", "x", "--repl-diskless-sync-delay", "0")


def replicated(server):
    info = server.r.info("replication")
    return info["role"] == "slave" and info["master_link_status"] == "up"


class Sentinels:
    name = "privacy-main"

    def __init__(self, down_after=500):
        self.redises = [Redis(*REPLICA)]
        self.redises += [Redis("--replicaof", f"127.0.0.1 {self.redises[0].port}", *REPLICA) for _ in range(2)]
        self.dir = work_dir("sentinel")
        self.ports, self.processes = [], []
        for i in range(3):
            port = free_port()
            config = self.dir / f"sentinel-{i}.conf"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self.dir}/var\nlogfile {self.dir}/sentinel-{i}.log\n"
                f"sentinel monitor {self.name} 127.0.0.1 {self.redises[0].port} 2\n"
                f"sentinel auth-user {self.name} admin\nsentinel auth-pass {self.name} x\n"
                f"sentinel down-after-milliseconds {self.name} {down_after}\n"
                f"sentinel failover-timeout {self.name} 4000\n")
            self.ports.append(port)
            self.processes.append(None)
            self.start_sentinel(i)
        assert wait_for(self.settled, 30), "the sentinels do not see each other"
        self.password_file = self.redises[0].password_file

    @property
    def url(self):
        return "redis+sentinel://privacy@" + ",".join(f"127.0.0.1:{p}" for p in self.ports) + f"/{self.name}"

    def start_sentinel(self, i):
        self.processes[i] = Process(["redis-server", self.dir / f"sentinel-{i}.conf", "--sentinel"], self.dir / "out.log")
        self.processes[i].wait_port(self.ports[i])

    def ask(self, i):
        return redis.Redis("127.0.0.1", self.ports[i], decode_responses=True)

    def settled(self):
        """Everybody knows everybody, and there is a primary with two replicas."""
        try:
            for i in range(3):
                m = self.ask(i).sentinel_master(self.name)
                if m["num-other-sentinels"] != 2 or m["num-slaves"] < 1 or m["flags"] != "master":
                    return False
            return sum(map(replicated, self.redises)) == 2
        except redis.exceptions.RedisError:
            return False

    def primary(self):
        """By ROLE, of those that answer and that a sentinel names."""
        for i in range(3):
            try:
                named = int(self.ask(i).sentinel_get_master_addr_by_name(self.name)[1])
                server = next(s for s in self.redises if s.port == named)
                if server.r.role()[0] == "master":
                    return server
            except (redis.exceptions.RedisError, StopIteration, TypeError):
                continue
        return None

    def failover(self):
        before = self.primary()

        def accepted():
            try:
                return self.ask(0).execute_command("SENTINEL", "FAILOVER", self.name)
            except redis.exceptions.ResponseError:  # NOGOODSLAVE: not seen yet
                return False
        assert wait_for(accepted, 20)
        assert wait_for(lambda: self.primary() not in (None, before), 20)

    def repair(self):
        """Everything runs again, with its replicas in step."""
        for i, process in enumerate(self.processes):
            if not process.alive():
                self.start_sentinel(i)
        for server in self.redises:
            if not server.process.alive():
                server.start()
        primary = wait_for(self.primary, 20)
        for server in self.redises:
            if server is not primary and server.r.role()[0] == "master":
                server.r.replicaof("127.0.0.1", primary.port)  # sentinels do that too, ten seconds later
        assert wait_for(self.settled, 60), "does not settle"

    def close(self):
        for process in self.processes:
            process.stop()
        for server in self.redises:
            server.close()
        remove(self.dir)


class Cluster:
    def __init__(self, node_timeout=1000):
        self.nodes = []
        for _ in range(6):
            self.nodes.append(Redis("--cluster-enabled", "yes", "--cluster-node-timeout", node_timeout,
                                    "--cluster-port", free_port(), "--cluster-replica-validity-factor", "0",
                                    "--cluster-require-full-coverage", "no", *REPLICA))
        done = subprocess.run(
            ["redis-cli", "--user", "admin", "--pass", "x", "--no-auth-warning", "--cluster", "create",
             *(f"127.0.0.1:{n.port}" for n in self.nodes), "--cluster-replicas", "1", "--cluster-yes"],
            capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert wait_for(self.settled, 30), "the cluster does not settle"
        self.password_file = self.nodes[0].password_file

    @property
    def url(self):
        return "redis+cluster://privacy@" + ",".join(f"127.0.0.1:{n.port}" for n in self.nodes[:2] + self.nodes[-1:])

    def settled(self):
        try:
            for node in self.nodes:
                if node.r.cluster("info")["cluster_state"] != "ok":
                    return False
                if any("fail" in n["flags"] or not n["connected"] for n in node.r.cluster("nodes").values()):
                    return False
            return sum(map(replicated, self.nodes)) == 3 and len(self.primaries()) == 3
        except redis.exceptions.RedisError:
            return False

    def primaries(self):
        out = []
        for node in self.nodes:
            try:
                if node.r.role()[0] == "master":
                    out.append(node)
            except redis.exceptions.RedisError:
                continue
        return out

    def slots(self):
        """{(first, last): (primary's port, replicas' ports)} as the first node that answers has it."""
        for node in self.nodes:
            try:
                rows = node.r.execute_command("CLUSTER SLOTS")
                return {(row[0], row[1]): (row[2][1], [r[1] for r in row[3:]]) for row in rows}
            except redis.exceptions.RedisError:
                continue
        return {}

    def at(self, port):
        return next(n for n in self.nodes if n.port == port)

    def owner(self, key):
        slot = next(n for n in self.nodes if n.process.alive()).r.cluster("keyslot", key)
        return next((self.at(port) for (a, b), (port, _) in self.slots().items() if a <= slot <= b), None)

    def replica_of(self, primary):
        def found():
            return [self.at(r) for port, replicas in self.slots().values() if port == primary.port for r in replicas]
        return wait_for(found, 20)[0]

    def record(self, visitor_id):
        key = f"privacy:consent:{{{visitor_id}}}"
        return self.owner(key).r.hgetall(key)

    def failover(self, primary):
        replica = self.replica_of(primary)
        assert wait_for(lambda: replicated(replica), 20)
        replica.r.execute_command("CLUSTER", "FAILOVER")
        assert wait_for(lambda: replica.r.role()[0] == "master", 20)
        return replica

    def node_id(self, node):
        return node.r.execute_command("CLUSTER", "MYID")

    def move_slot(self, slot, source, target, during=lambda: None):
        """Resharding as redis-cli does it, one key at a time; `during` is called while the slot is half moved."""
        target.r.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source))
        source.r.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(target))
        during()
        while keys := source.r.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.r.execute_command("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5000, "AUTH2", "admin", "x")
            during()
        for node in [target, source] + self.primaries():
            node.r.execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.node_id(target))

    def repair(self):
        for node in self.nodes:
            if not node.process.alive():
                node.start()
        assert wait_for(self.settled, 60), "does not settle"

    def close(self):
        for node in self.nodes:
            node.close()
