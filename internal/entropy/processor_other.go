//go:build !amd64

package entropy

const hasProcessor = false

func readProcessor() (value uint64, ok bool) { return 0, false }
