//go:build !goexperiment.runtimesecret

package memory

import "runtime"

// stackSize is more than the work with secrets uses of a stack, in bytes.
const stackSize = 64 << 10

// Do calls f and overwrites the stack that f used. Goroutines that f starts call
// it themselves.
func Do(f func()) {
	overwriteStack() // so that the stack does not grow, and move, in f
	defer overwriteStack()
	f()
}

//go:noinline
func overwriteStack() {
	var b [stackSize]byte
	for i := range b {
		b[i] = 0xdb
	}
	runtime.KeepAlive(&b)
}
