module zeropass.dev/zeropass/bench

go 1.26.0

require zeropass.dev/zeropass v0.0.0

replace zeropass.dev/zeropass => ../
