package entropy

import (
	"errors"
	"fmt"
	"math"
)

// How a source fails its health tests. They are NIST SP 800-90B's, section 4.4,
// and a source that fails one gives nothing any more.
var (
	ErrRepetition = errors.New("the same sample came again and again")
	ErrProportion = errors.New("one sample came far too often")
)

const (
	// alpha is the probability, as a negative power of two, that a sound source
	// fails one run of a test: 2^-40, the strictest that section 4.4 recommends.
	// A source that failed is not asked again, so false alarms must not happen.
	alpha = 40

	// window of the adaptive proportion test for samples of more than one bit,
	// section 4.4.2.
	window = 512

	// startSamples are tested before a source counts at all, and then thrown
	// away. Section 4.3 asks for 1,024 at least.
	startSamples = 4 * window
)

// health runs the continuous health tests over the samples of one source, in the
// order in which they come. It carries its state from one draw to the next.
type health struct {
	repetitions int // cutoff of the repetition count test
	proportion  int // cutoff of the adaptive proportion test

	last byte
	run  int // how often last came in a row

	first byte // of the window
	seen  int  // samples in the window
	count int  // how often first came in it
}

// newHealth returns the tests for samples of one byte with this much
// min-entropy, in bits, from 0.001 to 8.
func newHealth(minEntropy float64) *health {
	return &health{repetitions: repetitionCutoff(minEntropy), proportion: proportionCutoff(minEntropy)}
}

// repetitionCutoff is C of section 4.4.1: 1 + ceil(-log2(alpha) / H).
func repetitionCutoff(minEntropy float64) int {
	return 1 + int(math.Ceil(alpha/minEntropy))
}

// proportionCutoff is C of section 4.4.2 as it was corrected since: the first
// sample of a window is there for certain, so the others are counted,
// 2 + critbinom(W - 1, 2^-H, 1 - alpha). (UL's comment 10b on the final SP
// 800-90B; the Linux kernel counts like that.) A cutoff beyond the window could
// never be reached.
func proportionCutoff(minEntropy float64) int {
	return min(window, 2+criticalBinomial(window-1, math.Exp2(-minEntropy), math.Exp2(-alpha)))
}

// criticalBinomial returns the smallest k for which a binomial variable of n
// trials with probability p is larger than k with a probability of at most tail.
// It adds up the upper tail, smallest terms first, so that nothing is lost.
func criticalBinomial(n int, p, tail float64) int {
	above := 0.0
	for k := n; k > 0; k-- {
		above += math.Exp(logBinomial(n, k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
		if above > tail {
			return k
		}
	}
	return 0
}

// logBinomial returns the natural logarithm of n over k.
func logBinomial(n, k int) float64 {
	log := func(i int) float64 { v, _ := math.Lgamma(float64(i) + 1); return v }
	return log(n) - log(k) - log(n-k)
}

// check takes samples. It returns an error that wraps [ErrRepetition] or
// [ErrProportion], which name counts and no samples.
func (h *health) check(samples []byte) error {
	for _, sample := range samples {
		if h.run == 0 || sample != h.last {
			h.last, h.run = sample, 0
		}
		if h.run++; h.run >= h.repetitions {
			return fmt.Errorf("%w: %d times in a row", ErrRepetition, h.run)
		}
		if h.seen == 0 {
			h.first, h.count = sample, 0
		}
		if sample == h.first {
			if h.count++; h.count >= h.proportion {
				return fmt.Errorf("%w: %d of %d", ErrProportion, h.count, h.seen+1)
			}
		}
		h.seen = (h.seen + 1) % window
	}
	return nil
}
