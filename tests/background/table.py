"""Every code block of the two background documents: what it asks for, and what a test changes of it.

The documents are not here; their blocks are known by a hash, and said again in our own lines.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

#: Names the folder of the two documents; without it our own lines run.
VARIABLE = "EDGESNN_TEST_BACKGROUND"
DISTILLATION, GUIDE = "snn_knowledge_distillation.md", "snn_training_guide.md"

#: Import lines and program names: what moves from the original to edgesnn changes these and nothing else.
NAMES = {
    "from src.snn_knowledge_distillation import": "from edgesnn import",
    "from src.llm_snn_backend import": "from edgesnn import",
    "from src.smartglass_agent import": "from tests.background.agent import",  # the agent is not ours
    "python scripts/train_snn_student.py": "edgesnn train",
    "python scripts/export_snn_to_onnx.py": "edgesnn export",
}


@dataclass(frozen=True)
class Change:
    """What a test replaces in a block, and why."""

    old: str
    new: str
    why: str


SHORT = "hours of training would prove no more"
#: In every training command that has it.
TRAINING = (
    Change("--num-steps 10000", "--num-steps 2", SHORT),
    Change("--num-steps 1000 ", "--num-steps 2 ", SHORT),
    Change("--num-steps 50 ", "--num-steps 3 ", SHORT),
    Change("--max-length 512", "--max-length 32", SHORT),
    Change("--max-length 1024", "--max-length 48", SHORT),
    Change("--warmup-steps 500", "--warmup-steps 1", "as many as steps at most"),
    Change("--warmup-steps 1000", "--warmup-steps 2", "as many as steps at most"),
)
#: Beside the lines: what stands in the working folder in place of what the documents fetch.
STAND_INS = {
    "gpt2": "a folder of that name: a random GPT-2 of two layers",
    "sshleifer/tiny-gpt2": "the same",
    "meta-llama/Llama-3.2-3B": "a random Llama of two layers",
    "Qwen/Qwen2.5-3B": "a random Qwen 2 of two layers",
    "wikitext-2": "a text of ours in wikitext's form in place of the hub's",
    "SmartGlassAgent": "an agent of a few lines: Whisper and CLIP are no business of this project",
    "path/to/image.jpg": "a file that the agent only names",
    "test_data": "two texts; the document does not say where they come from",
}


@dataclass(frozen=True)
class Block:
    """One code block.

    Attributes:
        name: What it is, in a word.
        document: In which it stands.
        digest: First 12 hex digits of the SHA-256 of its lines, without indentation and outer white space.
        code: The same in our own lines; empty where a block is a drawing or a formula, which a test checks.
        changes: What the test replaces.
        after: Names of the blocks whose files it needs.
    """

    name: str
    document: str
    digest: str
    code: str = ""
    changes: tuple[Change, ...] = ()
    after: tuple[str, ...] = ()


BLOCKS = (
    Block("architecture", DISTILLATION, "4d55c8b31168"),
    Block(
        "configuration",
        DISTILLATION,
        "0bef1289669d",
        """
from src.snn_knowledge_distillation import SNNDistillationConfig

config = SNNDistillationConfig(
    teacher_model="gpt2", teacher_checkpoint=None, student_architecture="spiking_transformer",
    student_hidden_size=256, student_num_layers=4, student_num_heads=4,
    temperature=2.0, alpha_ce=0.5, alpha_kd=0.5, learning_rate=5e-4, batch_size=8, num_epochs=10,
    gradient_accumulation_steps=4, spiking_threshold=1.0, membrane_decay=0.9, timesteps=10,
    target_latency_ms=50.0, target_power_mw=100.0, quantization_bits=8,
    output_dir="artifacts/snn_student", export_onnx=True,
)
config.save("config/snn_distillation.json")
""",
    ),
    Block(
        "train",
        DISTILLATION,
        "4f09aac954d5",
        "python scripts/train_snn_student.py --teacher-model gpt2 --num-steps 1000 --batch-size 8 "
        "--grad-accum-steps 4 --lr 5e-4 --temperature 2.0 --output-dir artifacts/snn_student --export-onnx",
        TRAINING,
    ),
    Block(
        "trainer",
        DISTILLATION,
        "447cd4874f48",
        """
from src.snn_knowledge_distillation import SNNDistillationTrainer, create_default_config

config = create_default_config()
trainer = SNNDistillationTrainer(config)
trainer.load_teacher()
trainer.initialize_student()
results = trainer.train()
print(results)
""",
        (Change("= create_default_config()", "= small(create_default_config())", SHORT),),
    ),
    Block("layers", DISTILLATION, "fa47c601fb39"),
    Block("neuron", DISTILLATION, "a8671628d427"),
    Block("surrogate", DISTILLATION, "3fa4bbbd3b99"),
    Block("text loss", DISTILLATION, "d2b2f7d52b6a"),
    Block("teacher loss", DISTILLATION, "3c69be91884d"),
    Block("loss", DISTILLATION, "5d76b0215025"),
    Block(
        "profiler",
        DISTILLATION,
        "aa1495bfd843",
        """
from src.snn_knowledge_distillation import SNNHardwareProfiler

profiler = SNNHardwareProfiler("artifacts/snn_student/student.pt")
latency = profiler.profile_latency()
print(f"{latency['mean_ms']:.1f} {latency['p95_ms']:.1f}")
power = profiler.profile_power()
print(f"{power['mean_mw']:.1f} {power['peak_mw']:.1f}")
accuracy = profiler.profile_accuracy(test_data)
print(f"{accuracy['accuracy']:.2%}")
""",
        (
            Change('student.pt")', 'student.pt", profile="few.toml")', "fewer and shorter windows"),
            Change("profile_power()", 'profile_power(meter="sim:ina228")', "no instrument is attached"),
        ),
        ("train",),
    ),
    Block(
        "agent",
        DISTILLATION,
        "9d8611f8645c",
        """
from src.smartglass_agent import SmartGlassAgent
from src.llm_snn_backend import SNNLLMBackend

snn_backend = SNNLLMBackend(model_path="artifacts/snn_student/student.pt")
agent = SmartGlassAgent(
    whisper_model="base", clip_model="openai/clip-vit-base-patch32", llm_backend=snn_backend, provider="meta"
)
result = agent.process_multimodal_query(text_query="What do you see?", image_input="path/to/image.jpg")
print(result["response"])
""",
        (),
        ("train",),
    ),
    Block(
        "data sets",
        DISTILLATION,
        "0bc54f2dbbd6",
        'datasets = ["wikitext-2", "openwebtext", "cc_news", "custom_glasses_data"]',
    ),
    Block(
        "effective batch",
        DISTILLATION,
        "3ebd53d2387d",
        "effective_batch_size = batch_size * gradient_accumulation_steps",
    ),
    Block(
        "quickstart",
        GUIDE,
        "7c0c82353292",
        "python scripts/train_snn_student.py --teacher-model sshleifer/tiny-gpt2 --dataset synthetic "
        "--num-steps 50 --batch-size 4 --grad-accum-steps 2 --output-dir artifacts/snn_student_demo",
        TRAINING,
    ),
    Block(
        "llama",
        GUIDE,
        "47c06db24bad",
        "python scripts/train_snn_student.py --teacher-model meta-llama/Llama-3.2-3B --dataset wikitext-2 "
        "--num-steps 10000 --batch-size 4 --grad-accum-steps 8 --max-length 512 --lr 3e-4 --scheduler cosine "
        "--warmup-steps 500 --snn-timesteps 8 --snn-surrogate fast_sigmoid --snn-threshold 0.5 "
        "--output-dir artifacts/snn_student_llama",
        TRAINING,
    ),
    Block(
        "qwen",
        GUIDE,
        "ce646deff819",
        "python scripts/train_snn_student.py --teacher-model Qwen/Qwen2.5-3B --dataset wikitext-2 "
        "--num-steps 10000 --batch-size 2 --grad-accum-steps 16 --max-length 1024 --scheduler linear "
        "--warmup-steps 1000 --snn-timesteps 8 --snn-surrogate arctan "
        "--output-dir artifacts/snn_student_qwen",
        TRAINING,
    ),
    Block("files", GUIDE, "c5ca6a014ad6", after=("llama",)),
    Block("metadata", GUIDE, "b1a8fd25580a", after=("llama",)),
    Block(
        "backend",
        GUIDE,
        "2b2fcbd1da9a",
        """
from src.llm_snn_backend import SNNLLMBackend

backend = SNNLLMBackend(
    model_path="artifacts/snn_student_llama/student.pt",
    metadata_path="artifacts/snn_student_llama/metadata.json",
)
print(backend.generate("Hello from the glasses", max_tokens=24))
""",
        (),
        ("llama",),
    ),
    Block(
        "export",
        GUIDE,
        "c8153b4e98ce",
        "python scripts/export_snn_to_onnx.py --model-path artifacts/snn_student_llama/student.pt "
        "--metadata-path artifacts/snn_student_llama/metadata.json "
        "--output-path artifacts/snn_student_llama/student.onnx",
        (),
        ("llama",),
    ),
)
BY_NAME = {block.name: block for block in BLOCKS}

_FENCE = re.compile(r"^([ ]*)```\w*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks_of(text: str) -> dict[str, str]:
    """The code blocks of a document by the digest of each."""
    codes = [textwrap.dedent(found[2]).strip() for found in _FENCE.finditer(text)]
    return {hashlib.sha256(code.encode("utf-8")).hexdigest()[:12]: code for code in codes}


def runnable(block: Block, documents: Path | None) -> str:
    """The block with our names and the changes of its row; the document's own lines where it is at hand."""
    code = block.code
    if documents is not None:
        code = blocks_of((documents / block.document).read_text("utf-8"))[block.digest]
    code = code.replace("\\\n", " ")
    for old, new in NAMES.items():
        code = code.replace(old, new)
    changed = code
    for change in block.changes:
        changed = changed.replace(change.old, change.new)
    assert block.changes == () or changed != code, "the changes of this row change nothing"
    return changed
