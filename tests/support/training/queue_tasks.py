"""A small plan of tasks for the queue."""

from train.run.plan import EpochProgress, Plan, Task
from train.workers.queue import TaskQueue


def task(name: str, cost: float = 1.0, needs: tuple[str, ...] = (), epochs: int = 4) -> Task:
    job, phase = name.split("/")
    return Task(name, job, phase, 0, needs, cost, epochs)


SMALL = Plan(
    (
        task("general/seed-0", 100),
        task("general/seed-1", 100),
        task("general/bundle", 5, ("general/seed-0", "general/seed-1"), 0),
        task("KCB/scratch-0", 30),
        task("KCB/finetune-0", 10, ("general/seed-0",)),
        task("KCB/bundle", 5, ("KCB/scratch-0", "KCB/finetune-0", "general/seed-0", "general/seed-1"), 0),
        task("SCOM/scratch-0", 60),
        task("SCOM/finetune-0", 12, ("general/seed-0",)),
        task("SCOM/bundle", 5, ("SCOM/scratch-0", "SCOM/finetune-0", "general/seed-0", "general/seed-1"), 0),
    ),
    {"ARM": "frozen: it never moves"},
)


def drain(queue: TaskQueue, rank: int = 0) -> list[str]:
    done = []
    while isinstance(lease := queue.lease(rank), Task):
        done.append(lease.id)
        queue.done(lease.id)
    assert lease == "end"
    return done


def job(queue: TaskQueue, name: str) -> dict:
    return next(row for row in queue.snapshot() if row["job"] == name)


def progress(epoch: int, epochs: int = 4) -> EpochProgress:
    return EpochProgress(epoch, epochs, 0.5, 0.4, 0.98, 0.97, epoch, 7.5)
