package entropy

import (
	"crypto/sha256"
	"errors"
	"time"
)

// errCoarse: the clock is too coarse to see the jitter.
var errCoarse = errors.New("the clock does not show how long the work takes")

const (
	jitterMemory = 1 << 18 // bytes; more than the fastest cache holds
	jitterSteps  = 64      // places in the memory that one sample touches
	jitterStuck  = 64      // samples in a row without information before it gives up
)

// jitter measures how long the same work takes, again and again. Caches, memory,
// interrupts and everything else on the machine make it differ by nanoseconds;
// a sample is the low byte of the difference between two clock readings. The
// work depends on the measurements, so that it cannot be foreseen.
type jitter struct {
	memory   []byte
	place    uint32
	state    [sha256.Size]byte
	last     time.Time
	delta    int64 // between the last two readings
	change   int64 // of delta
	hasDelta bool
}

func newJitter() *jitter { return &jitter{memory: make([]byte, jitterMemory), last: time.Now()} }

func (j *jitter) Read(samples []byte) error {
	for i := range samples {
		stuck := 0
		for {
			delta, ok := j.measure()
			if ok {
				samples[i] = byte(delta)
				break
			}
			if stuck++; stuck == jitterStuck {
				return errCoarse
			}
		}
	}
	return nil
}

// measure works and returns how long that took, in nanoseconds, and whether that
// tells anything: its first three discrete derivatives must not be zero.
func (j *jitter) measure() (int64, bool) {
	j.work()
	now := time.Now()
	delta := now.Sub(j.last).Nanoseconds()
	j.last = now
	change := delta - j.delta
	second := change - j.change
	fresh := !j.hasDelta
	j.delta, j.change, j.hasDelta = delta, change, true
	return delta, !fresh && delta != 0 && change != 0 && second != 0
}

func (j *jitter) work() {
	j.state[0] ^= byte(j.delta)
	j.state = sha256.Sum256(j.state[:])
	step := uint32(j.state[0])<<8 | uint32(j.state[1]) | 1
	for range jitterSteps {
		j.place = (j.place + step) % jitterMemory
		j.memory[j.place] += byte(j.place) + 1
	}
}

func (j *jitter) Close() error {
	clear(j.memory)
	clear(j.state[:])
	return nil
}
