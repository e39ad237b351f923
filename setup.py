import os
import re

from setuptools import find_packages, setup

ROOT = os.path.dirname(os.path.abspath(__file__))


def read(*path, default=None):
    """Return the text of a file below the root, or `default` where it is missing and a default is given."""
    file = os.path.join(ROOT, *path)
    if default is not None and not os.path.exists(file):
        return default
    with open(file, encoding="utf-8") as stream:
        return stream.read()


def read_version():
    """Read `__version__` as text: importing the package would need everything that is not installed yet."""
    return re.search(r'^__version__ = "(.+)"$', read("gearnet_plugin", "__init__.py"), re.MULTILINE).group(1)


# What the modules of TorchDrug 0.2.1 import. TorchDrug itself is not in the list: its metadata asks for
# Python < 3.11, for rdkit-pypi, which has ended, and for torch-scatter and torch-cluster, which compile for
# 20 minutes. It is installed by
#     pip install --no-deps --ignore-requires-python torchdrug==0.2.1
# and `import gearnet_plugin` makes it run. Its metadata also names ninja, which only its C++ extensions use:
# not needed here.
TORCHDRUG_NEEDS = [
    "torch>=2.4",
    "numpy",
    "rdkit",
    "decorator",
    "fair-esm",
    "jinja2",
    "lmdb",
    "matplotlib",
    "networkx",
    "pillow",
    "setuptools",  # through torch.utils.cpp_extension
    "six",
    "tqdm",
]

# What this package imports besides.
WE_NEED = [
    "click",
    "easydict",
    "gemmi>=0.6.5",
    "joblib>=1.4",  # results as they are ready, in any order
    "pyarrow>=14",
    "pyyaml",
]

EXTRAS = {
    # the compiled packages; where they are missing, equal functions in plain PyTorch take their place
    "scatter": ["torch-scatter", "torch-cluster"],
    # BinaryCIF (its container is MessagePack, which biotite reads by msgpack too), FoldComp, HDF5
    "formats": ["biotite", "msgpack", "foldcomp", "h5py"],
    # preparing data on several machines
    "cluster": ["dask", "distributed"],
    # 3D pages, attribution, tracking
    "report": ["plotly", "captum", "tensorboard"],
    # kernels for NVIDIA and AMD GPUs
    "fused": ["triton; sys_platform == 'linux'"],
    # the optional formats and a cluster of two processes; biotite reads the same structures in another way too;
    # torch-geometric must not notice that this package is imported; metrics are compared with scikit-learn's
    "test": ["biotite", "dask", "distributed", "foldcomp", "h5py", "msgpack", "mypy", "pytest>=8", "ruff",
             "scikit-learn", "torch-geometric"],
}

setup(
    name="gearnet-plugin",
    version=read_version(),
    description="Geometric structure pretraining of proteins (GearNet) for TorchDrug",
    long_description=read("README.md", default=""),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords=["protein structure", "pretraining", "graph neural network", "GearNet", "TorchDrug", "PyTorch"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
    ],
    packages=find_packages(include=["gearnet_plugin", "gearnet_plugin.*"]),
    # not an entry point, whose first act would be to import all of the package, torch and TorchDrug
    scripts=["script/gearnet"],
    package_data={"gearnet_plugin": ["py.typed", "structures/data/*"]},
    python_requires=">=3.10",
    install_requires=TORCHDRUG_NEEDS + WE_NEED,
    extras_require=EXTRAS,
    zip_safe=False,
)
