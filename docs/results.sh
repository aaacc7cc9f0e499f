#!/bin/sh
# Every comparison of docs/RESULTS.md, two at a time with one core each: about two hours. Then: python docs/results.py results
mkdir -p results
five() {
    cat <<'LIST'
adding quickstart
adding-hochreiter adding-hochreiter model.hidden_size=32 train.batch_size=32 train.eval_every=25
multiplication multiplication model.hidden_size=32
copy-memory copy-memory task.length=50 model.cell.chrono=75 model.hidden_size=48 optimizer.lr=2e-3 train.batch_size=32 train.steps=2000 train.stop_when_solved=false
selective-copy selective-copy train.eval_every=50 train.steps=2500
temporal-order temporal-order train.eval_every=25 train.steps=3000
temporal-order-chrono temporal-order train.eval_every=25 train.steps=3000 model.cell.chrono=100
temporal-order-3 temporal-order-3 train.eval_every=50 train.steps=4000
long-lag long-lag train.eval_every=25
two-sequence two-sequence train.eval_every=25
two-sequence-targets two-sequence-targets train.eval_every=25
embedded-reber embedded-reber train.eval_every=25
counting counting train.eval_every=25
brackets brackets train.eval_every=50
parity parity train.eval_every=25
timing timing train.eval_every=25
recall recall train.eval_every=50 train.steps=5000
lookaround lookaround model.hidden_size=16 train.eval_every=25 train.steps=1500
stories stories model.hidden_size=64 train.eval_every=50 train.steps=1200
words words model.hidden_size=48 model.dropout=0 train.epochs=null train.steps=400 train.eval_every=100
LIST
}
five | xargs -P 2 -I{} sh -c 'set -- {}; name=$1; shift
    seqtrain compare "$@" threads=1 --match params --seeds 8 --out "results/$name" --quiet > "results/$name.txt"'
seqtrain compare copy-memory task.length=200 model.hidden_size=48 optimizer.lr=2e-3 train.batch_size=32 train.steps=3500 \
    train.stop_when_solved=false threads=1 --cells '{name: lstm, chrono: null}, {name: lstm, chrono: 300}' --seeds 6 \
    --out results/chrono --quiet > results/chrono.txt
seqtrain compare temporal-order train.eval_every=25 train.steps=3000 threads=1 --match params --vary task.length=25,50,100,200 \
    --seeds 10 --jobs 2 --out results/how-far --quiet > results/how-far.txt
for one in 'embedded-reber train.eval_every=25' 'selective-copy train.eval_every=50 train.steps=2500'; do
    seqtrain compare $one threads=1 --match params --grid optimizer.lr=2.5e-3,5e-3,1e-2,2e-2 --seeds 8 --jobs 2 \
        --out "results/${one%% *}-tuned" --quiet > "results/${one%% *}-tuned.txt"
done
