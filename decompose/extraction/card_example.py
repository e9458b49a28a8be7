"""The program on the card of a network: predict one file with torch alone, with the expert's recipe."""

from __future__ import annotations

from lorkit.decompose.documents.expert import ExpertInfo
from lorkit.decompose.documents.mixture import MixtureInfo
from lorkit.decompose.documents.recipe import Intensity
from lorkit.decompose.tasks import get_task

_RESIZE = """def resize(plane, height, width):
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))

"""


def segments(info: ExpertInfo) -> bool:
    """Return whether an expert is a segmentation network."""
    return get_task(info.task).dense


def example(info: ExpertInfo) -> str:
    """Return a program that reads `image.png` (`image.nii.gz` for volumes) and prints the prediction.

    It needs torch, numpy and Pillow, for volumes also nibabel. That of nodes reads prepared inputs, `nodes.npy`.
    """
    classes = 'classes = json.load(open("expert.json"))["classes"]\n'
    if info.recipe.nodes is not None:
        return f"import json\n\nimport numpy as np\nimport torch\n\n{_of_nodes(info)}"
    return f"{_head(info)}{classes}{_read(info)}{_answer(info)}"


def mixture_example(info: MixtureInfo) -> str:
    """Return a program as `example` does, of a network of several regions: of the first, or of the region found."""
    about, first = info.mixture, info.mixture.heads[0].region
    load = """about = json.load(open("expert.json"))["mixture"]
heads = about["heads"]
network = torch.export.load("model.pt2").module()
batch = torch.from_numpy(image)[None]
"""
    if about.form == "region-id":
        run = f"""regions = [head["region"] for head in heads]
index = regions.index("{first}")  # the region of this image, which you know
logits = network(batch, torch.tensor([index]))[index][0]
"""
    else:
        own = "at" if about.policy != "weighted" else len(about.heads)
        run = f"""outputs = network(batch)
*_, probabilities, confidence, gates = outputs
at = int(probabilities[0].argmax())
head, logits = heads[at], outputs[{own}][0]
print(head["region"], float(probabilities[0, at]), "confidence", float(confidence[0]))
if confidence[0] < (about["abstain_below"] or 0):
    raise SystemExit("no region is recognised, so there is no answer")
"""
    head = "head = heads[index]\n" if about.form == "region-id" else ""
    return f"{_head(info)}{_read(info)}{load}{run}{head}{_ANSWERS}"


_ANSWERS = """if head["task"] == "segmentation":
    mask = logits.argmax(0)  # 0 is background
    print({name: int((mask == value).sum()) for value, name in enumerate(head["classes"], start=1)})
elif head["task"] == "structures":
    masks = logits > 0  # structures may overlap: a mask for each
    print({name: int(mask.sum()) for name, mask in zip(head["classes"], masks)})
elif head["task"] == "multilabel":
    for name, probability in zip(head["classes"], logits.sigmoid().tolist()):
        limit = head["decision"]["thresholds"][name]
        print(name, probability, "uncertain" if limit is None else "positive" if probability >= limit else "negative")
else:
    print(dict(zip(head["classes"], logits.softmax(0).tolist())))
"""


def _of_nodes(info: ExpertInfo) -> str:
    limit = None if info.decision is None else info.decision.positive_from(info.classes)
    answer = (
        'probabilities[1] >= decision["thresholds"][classes[1]]'
        if limit is not None
        else "probabilities.index(max(probabilities))"
    )
    scaled = "network(nodes)" if info.temperature is None else '(network(nodes) / decision["temperature"])'
    return f"""expert = json.load(open("expert.json"))
classes, decision = expert["classes"], expert["decision"]
nodes = torch.from_numpy(np.load("nodes.npy"))  # float32, as the recipe in expert.json says
network = torch.export.load("model.pt2").module()
for probabilities in {scaled}.softmax(1).tolist():
    print(dict(zip(classes, probabilities)), classes[{answer}])
"""


def _head(info: ExpertInfo | MixtureInfo) -> str:
    head = "import json\n\nimport numpy as np\nimport torch\nfrom PIL import Image\n\n"
    if info.recipe.dims == 3:
        head = head.replace("import numpy", "import nibabel\nimport numpy")
    return f"{head}\n{_RESIZE}\n"


def _read(info: ExpertInfo | MixtureInfo) -> str:
    return _volume(info) if info.recipe.dims == 3 else _picture(info)


def _picture(info: ExpertInfo | MixtureInfo) -> str:
    count = info.recipe.channels
    mode = "L" if count == 1 or info.gray else "RGB"
    stack = ".repeat(3, axis=0)" if count == 3 and mode == "L" else ""
    height, width = info.recipe.size
    return f"""picture = Image.open("image.png")
stored = "uint16" if picture.mode.startswith("I") else "float32" if picture.mode == "F" else "uint8"
pixels = np.asarray(picture if stored != "uint8" else picture.convert("{mode}"), dtype=np.float32).reshape(-1)
width, height = picture.size
planes = pixels.reshape(height, width, -1).transpose(2, 0, 1)
{_intensity(info.recipe.intensity)}
image = np.stack([resize(plane, {height}, {width}) for plane in planes]){stack}
"""


def _volume(info: ExpertInfo | MixtureInfo) -> str:
    deep, height, width = info.recipe.size
    return f"""volume = nibabel.as_closest_canonical(nibabel.load("image.nii.gz"))  # RAS axes
stored = str(np.asanyarray(volume.dataobj).dtype)
planes = np.asarray(volume.dataobj, dtype=np.float32)
{_intensity(info.recipe.intensity)}
planes = np.stack([resize(plane, {height}, {width}) for plane in planes])
volume = resize(planes.reshape(len(planes), -1), {deep}, {height * width})
image = volume.reshape(1, {deep}, {height}, {width}).repeat({info.recipe.channels}, axis=0)
"""


def _answer(info: ExpertInfo) -> str:
    network = 'network = torch.export.load("model.pt2").module()\n'
    if info.task == "structures":
        return f"""{network}masks = network(torch.from_numpy(image)[None])[0] > 0  # structures may overlap
print({{name: int(mask.sum()) for name, mask in zip(classes, masks)}})
"""
    if segments(info):
        return f"""{network}mask = network(torch.from_numpy(image)[None]).argmax(1)[0]  # 0 is background
print({{name: int((mask == value).sum()) for value, name in enumerate(classes, start=1)}})
"""
    if info.task == "multilabel":
        return f"""{network}probabilities = network(torch.from_numpy(image)[None]).sigmoid()[0].tolist()
thresholds = json.load(open("expert.json"))["decision"]["thresholds"]
for name, probability in zip(classes, probabilities):
    limit = thresholds[name]
    print(name, probability, "uncertain" if limit is None else "positive" if probability >= limit else "negative")
"""
    return f"""{network}probabilities = network(torch.from_numpy(image)[None]).softmax(1)[0]
print(dict(zip(classes, probabilities.tolist())))
"""


def _intensity(step: Intensity) -> str:
    if step.rule == "window":
        low, high = step.bounds
        return f"planes = np.clip((planes - {low}) / {high - low}, 0, 1)"
    if step.rule == "percentile":
        return (
            f"low, high = np.percentile(planes, ({step.low}, {step.high}))\n"
            "planes = np.clip((planes - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)"
        )
    return (
        'whole = {"uint8": 255, "uint16": 65535}  # float images are in [0, 1] already\n'
        "planes = planes / whole.get(stored, 1)"
    )
