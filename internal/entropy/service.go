package entropy

import (
	"cmp"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"zeropass.dev/zeropass/signing"
)

// ErrNoPhysical means that no physical source is sound any more.
var ErrNoPhysical = errors.New("no physical source of randomness is sound")

const (
	halfSize   = 32 // bytes of the server's half of a seed
	systemSize = 64 // bytes of the operating system's generator in it

	// drawBits is how much min-entropy every source must bring for one half:
	// what a conditioning function of 256 bits needs for full entropy, SP
	// 800-90C section 3.1.
	drawBits = 8*halfSize + 64

	// defaultWait is how long a source may take. One that takes longer has failed.
	defaultWait = 5 * time.Second
)

// Config is what a [Service] is made of.
type Config struct {
	System  io.Reader // the operating system's generator, safe for concurrent use
	Sources []Spec
	AllowOS bool // go on when no physical source is sound, and say so
	Log     *slog.Logger
	Wait    time.Duration // for a source to answer; 5 seconds if zero
}

// Service makes the server's halves of seeds from all sound sources. It keeps
// nothing that it gave, and logs nothing of it. It is safe for concurrent use.
type Service struct {
	system  io.Reader
	allowOS bool
	log     *slog.Logger
	sources []*source
}

// source is a physical source with its health tests.
type source struct {
	spec Spec
	wait time.Duration

	mu     sync.Mutex // one draw at a time: the tests go on from sample to sample
	noise  Noise      // nil once it has failed, or if there is none
	health *health
	drawn  uint64 // samples that came, those of the start included
	cause  error  // why there is none
	since  time.Time
}

// Status says how a source is.
type Status struct {
	Spec
	Sound   bool
	Drawn   uint64 // samples so far
	Cause   error  // nil while it is sound; wraps ErrUnsupported if the machine has none
	Changed time.Time
	// Cutoffs of the health tests.
	Repetitions, Proportion int
}

// New opens the sources and runs their start-up tests, SP 800-90B section 4.3,
// all at the same time. A source that fails them counts no more than one that is
// missing. It returns an error that wraps [ErrNoPhysical] if none is left and
// the configuration does not allow that.
func New(c Config) (*Service, error) {
	s := &Service{system: c.System, allowOS: c.AllowOS, log: c.Log}
	var wait sync.WaitGroup
	for _, spec := range c.Sources {
		one := &source{spec: spec, wait: cmp.Or(c.Wait, defaultWait), health: newHealth(spec.MinEntropy), since: time.Now()}
		s.sources = append(s.sources, one)
		wait.Go(func() {
			if one.noise, one.cause = openWithin(one.wait, spec); one.cause == nil {
				_, _ = one.draw(startSamples) // it notes the cause
			}
		})
	}
	wait.Wait()
	for _, one := range s.sources {
		switch {
		case one.cause == nil:
			c.Log.Info("a source of randomness is sound", "source", one.spec.String(), "min_entropy", one.spec.MinEntropy)
		case errors.Is(one.cause, ErrUnsupported):
			c.Log.Info("there is no such source of randomness", "source", one.spec.String())
		default:
			c.Log.Error("a source of randomness failed at the start and is not used", "source", one.spec.String(), "cause", one.cause)
		}
	}
	if s.sound() == 0 && !c.AllowOS {
		return nil, errors.Join(ErrNoPhysical, s.Close())
	}
	return s, nil
}

// Half makes the server's half of a seed, 32 bytes, and names the sources that
// went in, the operating system's generator always first:
//
//	HKDF-SHA256 (RFC 5869): secret = system ‖ samples of every sound source in
//	their order, no salt, info = the context "seed-server" without parts
//
// HKDF-Extract is HMAC-SHA256, a vetted conditioning function of SP 800-90B
// section 3.1.5.1.1; every source brings 320 bits of its stated min-entropy, so
// that one honest source alone gives full entropy. A source that fails meanwhile
// is dropped for good and the rest goes on. Errors wrap [ErrNoPhysical], or are
// the operating system's. The caller erases the half.
func (s *Service) Half() (half []byte, sources []string, err error) {
	secret := make([]byte, systemSize)
	defer func() { clear(secret) }()
	if _, err := io.ReadFull(s.system, secret); err != nil {
		return nil, nil, fmt.Errorf("entropy: the operating system's generator: %w", err)
	}
	names := []string{SourceSystem}
	for _, one := range s.sources {
		samples, err := one.draw(one.need())
		if err != nil {
			if errors.Is(err, errDropped) {
				s.log.Error("a source of randomness failed and is not used any more", "source", one.spec.String(), "cause", err)
			}
			continue
		}
		secret = appendErasing(secret, samples)
		clear(samples)
		names = append(names, one.spec.Kind)
	}
	if len(names) == 1 && !s.allowOS {
		return nil, nil, fmt.Errorf("entropy: %w", ErrNoPhysical)
	}
	info := signing.NewContext("seed-server").Encode()
	half, err = hkdf.Key(sha256.New, secret, nil, string(info), halfSize)
	if err != nil {
		return nil, nil, fmt.Errorf("entropy: the server's half: %w", err)
	}
	return half, names, nil
}

// appendErasing appends to a secret, and erases the old copy if it moved.
func appendErasing(secret, more []byte) []byte {
	longer := append(secret, more...)
	if &longer[0] != &secret[0] {
		clear(secret)
	}
	return longer
}

// errDropped marks the draw at which a source failed.
var errDropped = errors.New("dropped")

// need is how many samples bring drawBits.
func (o *source) need() int { return int(math.Ceil(drawBits / o.spec.MinEntropy)) }

// draw returns samples that passed the health tests. An error means that the
// source is of no use any more; it wraps errDropped when that is new.
func (o *source) draw(count int) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.noise == nil {
		return nil, o.cause
	}
	samples := make([]byte, count)
	err := readWithin(o.wait, o.noise, samples)
	if err == nil {
		o.drawn += uint64(count)
		err = o.health.check(samples)
	}
	if err == nil {
		return samples, nil
	}
	clear(samples)
	o.drop(err)
	return nil, fmt.Errorf("%w: %w", errDropped, err)
}

// drop ends the use of a source.
func (o *source) drop(cause error) {
	if !errors.Is(cause, errLate) {
		_ = o.noise.Close()
	}
	o.noise, o.cause, o.since = nil, cause, time.Now()
}

// Status says how every source is.
func (s *Service) Status() []Status {
	var all []Status
	for _, o := range s.sources {
		o.mu.Lock()
		all = append(all, Status{
			Spec: o.spec, Sound: o.noise != nil, Drawn: o.drawn, Cause: o.cause, Changed: o.since,
			Repetitions: o.health.repetitions, Proportion: o.health.proportion,
		})
		o.mu.Unlock()
	}
	return all
}

func (s *Service) sound() int {
	n := 0
	for _, status := range s.Status() {
		if status.Sound {
			n++
		}
	}
	return n
}

// Close lets go of the sources.
func (s *Service) Close() error {
	var errs []error
	for _, o := range s.sources {
		o.mu.Lock()
		if o.noise != nil {
			errs = append(errs, o.noise.Close())
			o.noise, o.cause = nil, errors.New("closed")
		}
		o.mu.Unlock()
	}
	return errors.Join(errs...)
}
