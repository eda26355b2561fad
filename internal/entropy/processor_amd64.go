package entropy

import "golang.org/x/sys/cpu"

// RDSEED gives the output of the conditioned noise source itself; RDRAND would
// only give that of a generator seeded by it.
var hasProcessor = cpu.X86.HasRDSEED

// readProcessor runs RDSEED once. It returns false if nothing was ready.
//
//go:noescape
func readProcessor() (value uint64, ok bool)
