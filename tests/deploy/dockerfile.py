"""deploy/Dockerfile, read as far as its tests need it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

__all__ = ("Dockerfile", "Instruction", "Stage")


@dataclass(frozen=True, slots=True)
class Instruction:
    """`RUN pip install …` is name `RUN` and the rest as text, continuation lines joined."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def texts(self, name: str) -> list[str]:
        return [instruction.text for instruction in self.instructions if instruction.name == name]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    stages: dict[str, Stage]

    @classmethod
    def read(cls, path: Path) -> Self:
        stages: dict[str, Stage] = {}
        stage: Stage | None = None
        for instruction in _instructions(path.read_text()):
            if instruction.name == "FROM":
                base, _, name = instruction.text.partition(" AS ")
                stage = stages[name] = Stage(name, base)
            elif stage is not None:
                stage.instructions.append(instruction)
        return cls(stages)

    def lineage(self, target: str) -> list[Stage]:
        """The stages that an image is made of, from the base image on; what is only copied from is not among them."""
        stage = self.stages[target]
        return [*(self.lineage(stage.base) if stage.base in self.stages else []), stage]

    def texts(self, target: str, name: str) -> list[str]:
        """All instructions of a name that count for an image, in order."""
        return [text for stage in self.lineage(target) for text in stage.texts(name)]

    def last(self, target: str, name: str) -> str:
        """The instruction that counts where a later one replaces an earlier one."""
        return self.texts(target, name)[-1]


def _instructions(source: str) -> list[Instruction]:
    without_comments = re.sub(r"^\s*#.*\n", "", source, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", " ", without_comments)
    lines = [line.strip() for line in joined.splitlines() if line.strip()]
    return [Instruction(name.upper(), text.strip()) for name, _, text in (line.partition(" ") for line in lines)]
