//go:build goexperiment.runtimesecret

package memory

import "runtime/secret"

// Do calls f and erases the registers, the stack and, once it is garbage, the heap
// memory that f used. Goroutines that f starts call it themselves.
func Do(f func()) { secret.Do(f) }
