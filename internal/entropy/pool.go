// Package entropy gathers random bytes for the two halves of a Private Master
// Seed.
//
// [Pool] is the device's: what a person does with the mouse, hashed together. It
// only ever stands behind the operating system's generator, under a hash, and is
// credited with no entropy at all (see seed.LocalHalf), so it can add but never
// take away.
//
// [Service] is the server's: physical sources, each with the health tests of NIST
// SP 800-90B, conditioned together with the operating system's generator.
package entropy

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Target is how many movements fill a pool, for a progress bar. A filled pool
// promises nothing; people move the mouse until the bar is full.
const Target = 256

// PoolSize is the length in bytes of what a pool holds.
const PoolSize = sha256.Size

// Pool mixes mouse movements. Its zero value is an empty pool. It is safe for
// concurrent use.
type Pool struct {
	mu     sync.Mutex
	state  [PoolSize]byte
	events int
	x, y   int
}

// Add mixes in where the mouse is and when it got there, to the nanosecond. A
// position that equals the last one is mixed in as well, but not counted.
//
//	state = SHA-256(state ‖ x ‖ y ‖ time), each number as 8 bytes big-endian
func (p *Pool) Add(x, y int, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := make([]byte, 0, PoolSize+3*8)
	b = append(b, p.state[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(int64(x)))
	b = binary.BigEndian.AppendUint64(b, uint64(int64(y)))
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixNano()))
	p.state = sha256.Sum256(b)
	clear(b)
	if p.events == 0 || x != p.x || y != p.y {
		p.events++
	}
	p.x, p.y = x, y
}

// Events returns how many movements were counted.
func (p *Pool) Events() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events
}

// Progress returns how full the pool is, from 0 to 1.
func (p *Pool) Progress() float64 { return min(1, float64(p.Events())/Target) }

// Bytes returns a copy of the pool's 32 bytes, nil while it is empty. The caller
// erases it.
func (p *Pool) Bytes() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.events == 0 {
		return nil
	}
	return append([]byte(nil), p.state[:]...)
}

// Erase empties the pool.
func (p *Pool) Erase() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.events, p.x, p.y = [PoolSize]byte{}, 0, 0, 0
}

const redacted = "[secret]"

// String returns "[secret]".
func (p *Pool) String() string { return redacted }

// GoString returns "[secret]".
func (p *Pool) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (p *Pool) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns "[secret]".
func (p *Pool) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (p *Pool) MarshalText() ([]byte, error) { return []byte(redacted), nil }
