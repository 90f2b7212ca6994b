#!/bin/sh
# The main job on real handwriting, offline: fit, evaluate, apply, inspect. Leaves pictures in $1.
set -eu
out=${1:-demo}
mkdir -p "$out"
EVP_HOME=${EVP_HOME:-$out/home}
export EVP_HOME

say() { printf '\n$ %s\n' "$*"; "$@"; }

say evp fit -d digits -b mini
say evp evaluate digits/mini
python tools/save_digit.py "$out/digit.png"
say evp apply digits/mini "$out/digit.png" --predict -o "$out/prompted.png" --force
say evp apply digits/mini "$out/digit.png" --what sheet --predict -o "$out/sheet.png" --force
set -- --png "$out/prompt.png" --html "$out/report.html" --image "$out/digit.png" --force
printf '\n$ evp inspect digits/mini %s > %s\n' "$*" "$out/card.txt"
evp inspect digits/mini "$@" > "$out/card.txt"
printf '\nLook at %s/sheet.png, %s/prompt.png and %s/report.html\n' "$out" "$out" "$out"
printf 'To go on with this prompt: . .venv/bin/activate; export EVP_HOME=%s; evp list\n' "$EVP_HOME"
