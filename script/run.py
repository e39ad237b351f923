"""
Train, fine-tune and test what a configuration describes.

    python script/run.py -c config/pretrain/mc_gearnet_edge.yaml --gpus [0,1,2,3]

Needs what script/setup.sh installs. ``-c FILE --help`` lists the options.
"""
import os
import sys

# the package beside this script, also where it is not installed or another version is
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from gearnet_plugin.engine.command import main

if __name__ == "__main__":
    sys.exit(main())
