"""Unusual configurations: each has to be refused in one sentence, leaving nothing behind, or to run to the end."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fault_runs import Process, make_network, start
from PIL import Image

REFUSED, ENDS, EITHER_WAY = "refused", "ends", "refused or ends"
LOG, LOCK = "inr_xai.log", ".lock"
SECONDS = 120.0  # after which a configuration counts as hanging
MEMORY = 12 * 2**30  # bytes of address space that a configuration may take before it fails

# Each line holds the arguments of one command line, which follow those of a short run; a line that begins with a verb
# or a dash stands alone. The folder `given` holds what they name: photos, files and a finished run. What is refused at
# once leaves no folder; where something must be loaded first, a folder with the log may be there.
AT_ONCE = r"""
objective=hybrid objective.deletion=-1
optimizer.lr=nan
optimizer.lr=-1
steps=0
steps=-3
steps=1.5
steps=true
steps=null
steps=
steps=many
steps=1e23
steps=100000000000000000000000
steps=[1,2]
+steps=2
~steps
stpes=3
+stpes=3
areas=[]
areas=[0]
areas=[1]
areas=[-0.1]
areas=[0.1,0.1]
areas=[0.1,0.10000001]
areas=[nan]
areas=[inf]
areas=[0.1,[0.2]]
areas={a:0.1}
areas=null
explanations=0
explanations=-1
explanations=2.5
explanations=two
explanations=11 areas=[0.1]
explanations=1000000000
stop.share=2 explanations=auto
stop.share=nan explanations=auto
stop.most=0 explanations=auto
exclusion.mode=never
exclusion.area=1
exclusion.weight=-1
exclusion.weight=nan
exclusion.sides=2
nested=true inr=fourier
stride=0
stride=1000000
total_variation=-1
total_variation=inf
binary=nan
seed=-1
image_batch_size=0
masks_per_forward=0
images_per_fit=0
threads=0
threads=-2
threads=100000
lock.wait=-1
lock.wait=nan
lock.until=3
shard.index=1
shard.index=-1 shard.count=2
shard.count=0
shard=null
dry_run=perhaps
sweep_metric=preservation
sweep_metric=preservation_hard_mean_rel/k9
sweep_metric=preservation_hard_mean_rel/k1/a0.7
sweep_metric=''
evaluate=[]
evaluate=[pointing_gamma]
evaluate=sometimes
evaluate=[3]
audit=true
audit={area:0.1}
audit={area:0.5,control:2} explanations=2
audit={area:0.1,control:0} explanations=2
audit={area:0.1,control:2} explanations=1
data.size=0
data.size=-1
data.size=1.5
data.size=100000000000
data.image_size=1
data.image_size=100000000
data.limit=0
data.limit=-1
data.every=0
data.targets=-1
data.targets=nobody
data.cues=nothing
data=nothing
data=image_folder
data=image_folder data.root=''
classifier.head=softmx
classifier.input_size=0
classifier.input_size=-24
classifier.input_size=100000000
classifier.input_size=[24,24,24]
classifier.resize=0
classifier.interpolation=best
classifier.mean=[]
classifier.std=[0,0,0]
classifier.model._target_=torch.os.system
classifier.model._target_=torch.hub.load
classifier.model._target_=torch.load
classifier.model._target_=builtins.eval
classifier.model._target_=os.system
classifier.model._target_=subprocess.Popen
classifier.model._target_=torch.utils.cpp_extension.load
classifier.model._target_=torchvision.os.system
classifier.model._target_=inr_xai.runs.files.os.system
classifier.model._target_=torch.nn.Linier
classifier.model._target_=nowhere.Network
classifier.model._target_=3
classifier.model._target_=''
allow_targets=os
allow_targets=[3]
allow_targets=['a b']
inr=cubes
inr=null
inr.sides=[]
inr.sides=[0]
inr.sides=[-4]
inr.sides=[1000000]
inr.gain=nan
inr.gain=-1
inr.scale=-1
inr.gian=2
inr=fourier inr.width=0
inr=fourier inr.width=100000000
inr=fourier inr.depth=0
inr=fourier inr.frequencies=0
inr=fourier inr.sigma=nan
inr=fourier inr.conditioning=some
inr=hash_grid inr.table_size=0
inr=hash_grid inr.levels=0
inr=siren inr.first_omega=nan
perturbation=fog
perturbation.parts=[]
perturbation.parts=[{}]
score=guess
area_rule=nothing
area_rule.hold=nan
reveal.start=2
reveal.until=-1
jitter.max_shift=-1
optimizer._target_=torch.optim.Adan
optimizer._target_=torch.nn.Linear
trainer.devices=2
trainer.devices=0
trainer.precision=16-mixed
trainer.accelerator=tpu
trainer.max_epochs=3
trainer=null
callbacks.sound=null
callbacks.progress=3
callbacks=evolution callbacks.evolution.every=0
callbacks.figures._target_=torch.os.system
logger=wandb logger.wandb.mode=onlin
logger=wandb logger.wandb.project=3
out=''
out=' '
out=/dev/null
out=/dev/null/run
out=/proc/run
out=../given/file.txt
out=../given/file.txt/run
name=''
name=${nobody}
name=${name}
name=${oc.env:FAULTS_NOBODY}
name=???
steps=${
steps=${data}
+experiment=nothing
+ablation=nothing
sweep=nothing
=3
steps
hydra.sweeper.direction=maximize
evalute ../given/run
evaluate
--config-name nothing
steps=1,2
"""
LATER = r"""
areas=[1e-300]
stride=25
data.targets=8
data=image_folder data.root=../given/absent
data=image_folder data.root=../given/file.txt
data=image_folder data.root=../given/empty
data=image_folder data.root=../given/photos
data=image_folder data.root=../given/photos data.targets=3 data.segmentations=../given/photos
data=image_folder data.root=../given/photos data.classes=../given/absent.txt
data=image_folder data.root=../given/photos data.classes=../given
data=image_folder data.root=../given/photos data.classes=../given/file.bin
data=image_folder data.root=../given/photos data.targets=3 data.range=[1,0]
data=voc data.root=../given/photos
data=imagenet data.root=../given/photos
classifier.checkpoint=../given/absent.pth
classifier.checkpoint=../given
classifier.checkpoint=../given/file.bin
classifier.checkpoint=../given/file.txt
classifier.mean=[0.5,0.5]
classifier.model._args_=[]
classifier.model._args_=null
classifier.model._target_=torch.device
classifier=torchvision
classifier=torchvision classifier.name=resnet999
classifier=timm classifier.name=resnet999 classifier.pretrained=false
out=../given/run
evaluate ../given/absent
evaluate ../given/run --metrics pointing_gamma
evaluate ../given/run data.size=x
evaluate ../given/run --maps ../given/absent
evaluate ../given/photos
audit ../given/absent
audit ../given/run --area 0.7
audit ../given/run --control 0
audit ../given/run steps=9
compare --methods nothing
compare --table --set nothing
maps ../given/absent
table ../given/absent
verify
verify ../given/absent
verify ../given/photos
verify ../given/run --areas 2
verify ../given/run --size 0
areas=[0.001]
"""
TO_END = r"""
perturbation=constant perturbation.colour=[2,2,2]
steps=1
steps=${seed} seed=3
'steps="${oc.decode:${oc.env:FAULTS_NUMBER,2}}"'
++steps=2
areas=[0.01]
areas=[0.999]
areas=[0.5,0.25,0.125,0.0625,0.03]
areas=[0.3,0.1]
explanations=10 areas=[0.1]
explanations=auto
explanations=auto stop.share=0
explanations=auto stop.share=1
explanations=3 exclusion.mode=penalty areas=[0.6]
explanations=2 exclusion.area=0
nested=true
nested=true explanations=3
stride=1
stride=24
stride=23
total_variation=0 binary=0
seed=9223372036854775807
masks_per_forward=1
images_per_fit=7 data.size=3
threads=1
lock.wait=0
lock.wait=5
shard.count=3 shard.index=2
evaluate=[sparseness]
evaluate=[pointing_game,iou] data.size=2
audit={area:0.1,control:2} explanations=2 data.size=2
data.targets=7
data.targets=predicted
data.targets=wrong
data.cues=object
data=shapes_in_context data.size=1
data=image_folder data.root=../given/photos data.targets=3
data=image_folder data.root=../given/photos data.targets=predicted data.limit=2
data=image_folder 'data.root="../given/a b=c, ü"' data.targets=0
data=image_folder data.root=../given/broken data.targets=0
data=image_folder data.root=../given/photos data.classes=../given/classes.txt
data=image_folder data.root=../given/photos data.targets=0 data.limit=1 hydra.job.chdir=true
classifier.head=sigmoid
classifier.input_size=[24,32] classifier.resize=[24,32]
classifier.input_size=25 classifier.resize=25
classifier.interpolation=nearest
classifier.mean=[0,0,0] classifier.std=[1,1,1]
inr=fourier
inr=fourier inr.width=1 inr.depth=1 inr.frequencies=1
inr=siren
inr=wire
inr=dense_grid
inr.sides=[1]
inr.gain=0.001
perturbation=blur
perturbation=constant perturbation.colour=[0,1,0.5]
perturbation=donor
perturbation=pink_noise
perturbation=mixture_no_photos
objective=deletion
objective=hybrid
objective=hybrid objective.areas=[0.7]
score=logit
score=contrastive
area_rule=rank_penalty
optimizer.lr=0
optimizer._target_=torch.optim.SGD ~optimizer.eps
trainer.precision=64-true
trainer.precision=bf16-mixed
callbacks=evolution callbacks.evolution.every=1
callbacks.progress=null callbacks.curves=null callbacks.scores=null
logger=wandb logger.wandb.mode=disabled
'out="a b/ü=1, 2"'
out=deep/er/and/deeper
out=./x/../run
out=run-${seed}
out=../given/continued
'name="ü, \"quoted\""'
+ablation=blur_only
+ablation=no_reveal
allow_targets=[]
dry_run=true
-m seed=1,2
--version
--help
--cfg job
verify ../given/run
evaluate ../given/evaluated --metrics sparseness
"""
EITHER = r"""
image_batch_size=1000000
masks_per_forward=1000000
shard.count=1000000000
data.size=1 data.every=1000000
data.limit=1000000
'name="a/b"'
inr=hash_grid inr.table_size=2
classifier.resize=8
allow_targets=[nobody]
seed=18446744073709551616
nested=2
inr=hash_grid inr.table_size=1
steps=${oc.env:FAULTS_NUMBER,2}
optimizer.lr=1e9
total_variation=1e30
inr.gain=1e6
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a configuration.

    Args:
        expected: "refused", "ends" or "refused or ends".
        outcome: "refused", "ends", or what should not be.
        sentence: the refusal.
        left: names of what a refusal leaves behind.
    """

    arguments: str
    expected: str
    outcome: str
    status: int | None
    cpu_seconds: float
    sentence: str
    left: str = ""

    @property
    def fault(self) -> str | None:
        """What is wrong, or None."""
        if self.outcome not in (REFUSED, ENDS):
            return f"{self.arguments}: {self.outcome} ({self.sentence})"
        if self.outcome not in self.expected.split(" or "):
            return f"{self.arguments}: {self.outcome}, not as expected: {self.expected} {self.sentence}"
        return None


def configurations() -> list[tuple[str, str, bool]]:
    """Returns each configuration, what is expected of it, and whether a refusal may leave a folder with the log."""
    lists = ((AT_ONCE, REFUSED, False), (LATER, REFUSED, True), (TO_END, ENDS, False), (EITHER, EITHER_WAY, True))
    return [(line, expected, late) for text, expected, late in lists for line in text.strip().splitlines()]


def prepare(folder: Path) -> list[str]:
    """Writes what the configurations name, and returns the options of a short run."""
    given = folder / "given"
    for name in ("empty", "photos", "a b=c, ü", "broken"):
        (given / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    photos = [f"photos/cat/{number}.png" for number in range(3)]
    for name in (*photos, "a b=c, ü/é @ photo,1.png", "broken/good.jpg", "broken/bad.jpg"):
        (given / name).parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(given / name)
    bad = given / "broken" / "bad.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    (given / "file.txt").write_text("not what it should be\n")
    (given / "file.bin").write_bytes(bytes(range(256)))
    (given / "classes.txt").write_text("dog\ncat\n")
    options = [*make_network(given), "explanations=1"]
    for name, *more in (("run", "steps=3"), ("continued",), ("evaluated",)):
        ended = start(*options, "data.size=1", *more, f"out=given/{name}", folder=folder).wait()
        if ended.status != 0:
            raise RuntimeError(f"the run that the configurations name ended with {ended.shown()}")
    return options


def outcomes(folder: Path, chosen: list[tuple[str, str, bool]], *, at_once: int = 2) -> Iterator[Outcome]:
    """Yields what becomes of each configuration; some are tried at the same time."""
    options = prepare(folder)
    waiting: list[tuple[str, str, bool, Path, Process]] = []
    for number, (line, expected, late) in enumerate(chosen):
        place = folder / f"case-{number}"
        place.mkdir()
        arguments = shlex.split(line)
        alone = arguments[0] != "-m" and (arguments[0].startswith("-") or arguments[0].isalpha())
        if not alone:
            arguments = _with_options(arguments, options)
        waiting.append((line, expected, late, place, start(*arguments, folder=place, memory=MEMORY)))
        if len(waiting) >= at_once:
            yield _outcome(*waiting.pop(0))
    for started in waiting:
        yield _outcome(*started)


def _with_options(arguments: list[str], options: list[str]) -> list[str]:
    """Returns the arguments of a run after the options of a short one, unless they choose the same for themselves."""
    keys = [argument.split("=")[0] for argument in arguments]
    own = ["-m"] if "-m" in arguments else []
    own += [] if "data" in keys else ["data.size=1"]
    own += [] if "out" in keys else ["out=run"]
    return [*own, *options, *(argument for argument in arguments if argument != "-m")]


def _outcome(line: str, expected: str, late: bool, place: Path, process: Process) -> Outcome:
    """Waits for a configuration, and says what became of it."""
    ended = process.wait(SECONDS)
    process.terminal.unlink()
    paths = [path for path in sorted(place.rglob("*")) if not (late and (path.is_dir() or path.name in (LOG, LOCK)))]
    left = [path.relative_to(place).as_posix() for path in paths]
    said = [text for text in ended.text.splitlines() if re.match(r"(inr-xai[\w ]*: )?error: ", text)]
    sentence = re.sub(r"/\S*/given", "given", re.sub(r"/\S*/case-\d+", ".", " / ".join(said)))
    if ended.status is None:
        outcome = f"hangs for {SECONDS:.0f} s"
    elif not ended.is_clean:
        outcome, sentence = f"a traceback, status {ended.status}", ended.text.strip().splitlines()[-1][:200]
    elif ended.status == 2 and len(said) == 1:
        outcome = f"refused, but leaves {', '.join(left)}"[:200] if left else REFUSED
    elif ended.status in (0, 3) and not said:
        outcome = ENDS
    else:
        outcome = f"status {ended.status} with {len(said)} sentences"
    return Outcome(line, expected, outcome, ended.status, round(ended.cpu_seconds, 2), sentence, " ".join(left))
