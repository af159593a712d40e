#!/usr/bin/env bash
# The whole pipeline on 300 simulated radiographs, in the order a user runs it.
# Small networks and images: about ten minutes on two cores, no GPU, no download.
# Everything lands in demo/; remove that folder to begin anew.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-.venv/bin/python}
models=demo/models

step() {
    printf '\n\033[1m$ python %s\033[0m\n' "$*"
    "$python" "$@" --data demo/data --models "$models"
}

step al_segmentation/step0_prepare_cohort.py --source phantom --count 300 --annotated 24
step al_segmentation/step1_corase_segment.py --truth demo/data/truth

# the simulated oracle answers the committee's queries from the exact masks
step al_segmentation/step2_image_2_h5.py --pool annotated --size 128
step al_segmentation/step2_image_2_h5.py --pool unannotated --size 128
step al_segmentation/step2_interactive_segmentation.py --oracle simulated \
    --truth demo/data/truth --epochs 4 --filters 16 --images-per-epoch 150
step al_segmentation/step3_gen_segmentation_result.py --truth demo/data/truth
step al_segmentation/step3_gen_segmentation_with_enhance.py
step al_segmentation/step3_check_data.py

# from the ImageNet weights that come with the package: nothing is downloaded
network="--model efficientnet_lite0 --image-size 112 --augmentation 0.3"
step al_segmentation/step4_regression_multi_gpu.py $network --epochs 7 --test-fraction 0.2
# this one has maps of twice as many cells a side, and keeps those of nine hands after
# each epoch
step al_segmentation/step4_regression_with_cam.py $network --map-stride 16 --epochs 7

step al_segmentation/step5_statiscal_data.py
step al_segmentation/step6_cam.py

# the girls' hands once more, from the backbone just trained: what it is run for, not what
# it is good for, since that backbone has seen them
transfer="$network --weights demo/models/regression/efficientnet_lite0_all/model.keras
    --sex female --epochs-per-stage 2 --schedule head 1e-3 block6 1e-3 all 1e-4"
step paced_transfer/step1_ptl_gen.py $transfer
step paced_transfer/step2_conventional_transfer.py $transfer --start-layer all
step paced_transfer/step5_cam_inference.py --run efficientnet_lite0_female
step paced_transfer/step6_visualize.py

# the published backbones: the head alone learns, for an epoch, on layers of random weights;
# to see them running, since from nothing they learn nothing so soon
models=demo/published_backbones
for backbone in inception_v3 inception_resnet_v2 xception; do
    step paced_transfer/step2_conventional_transfer.py --model $backbone --weights none \
        --sex male --image-size 75 --start-layer head --schedule head 1e-3 \
        --epochs-per-stage 1
done

cat <<'TEXT'

Look at
  demo/models/statistics/table.md           errors with intervals
  demo/models/statistics/*.png              agreement, error by age
  demo/models/regression/*/cam/index.html   where the networks look
  demo/models/regression/*/cam/contact_sheet.png
  demo/models/regression/efficientnet_lite0_all_cam/cam/evolution.webm
                                            how the maps came about
  demo/models/paced/efficientnet_lite0_female/cam/stages.png
                                            the same hands, stage by stage
  demo/models/transfer/loss_efficientnet_lite0_female.png
                                            paced and conventional transfer
TEXT
