package entropy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Kinds of sources, as they are named in a [Spec] and in the server's answers.
const (
	KindHardware  = "hwrng"     // the kernel's hardware generator
	KindTPM       = "tpm"       // TPM 2.0
	KindProcessor = "processor" // the processor's instruction
	KindJitter    = "jitter"    // how long the same work takes, again and again
	KindFile      = "file"      // the operator's own device, file or pipe
	SourceSystem  = "os"        // the operating system's generator: always mixed in, never counted
)

// Where Linux offers its devices.
const (
	HardwareDevice = "/dev/hwrng"
	TPMDevice      = "/dev/tpmrm0"
)

// ErrUnsupported means that this machine has no such source.
var ErrUnsupported = errors.New("this machine has no such source")

// Noise is one physical source of randomness. A sample is one byte.
type Noise interface {
	// Read fills samples. It may block; whoever calls does not wait for ever.
	Read(samples []byte) error
	io.Closer
}

// Spec says which source to use, and how much it is trusted.
type Spec struct {
	Kind string
	Path string // of a device, file or pipe; empty where the kind needs none

	// MinEntropy is the least entropy of a sample of one byte, in bits, that the
	// operator states: from 0.001 to 8.
	MinEntropy float64
}

// minMinEntropy keeps a half of a seed from taking more than 320,000 samples.
const minMinEntropy = 0.001

// What a sample of each kind is taken to be worth, in bits, unless the operator
// says otherwise: far less than their makers claim, since whoever is wrong about
// it does not notice. Section 3.1.3 of SP 800-90B wants it stated.
var stated = map[string]float64{
	KindHardware:  4,
	KindTPM:       4,
	KindProcessor: 4,
	KindJitter:    0.25,
	KindFile:      1,
}

var defaultPaths = map[string]string{KindHardware: HardwareDevice, KindTPM: TPMDevice}

// DefaultSpecs returns every kind of source that needs no choice.
func DefaultSpecs() []Spec {
	var specs []Spec
	for _, kind := range []string{KindHardware, KindTPM, KindProcessor, KindJitter} {
		specs = append(specs, Spec{Kind: kind, Path: defaultPaths[kind], MinEntropy: stated[kind]})
	}
	return specs
}

// ParseSpec reads kind[:path][,min-entropy=BITS], as an operator writes it.
func ParseSpec(text string) (Spec, error) {
	name, option, hasOption := strings.Cut(text, ",")
	kind, path, _ := strings.Cut(name, ":")
	s := Spec{Kind: kind, Path: path, MinEntropy: stated[kind]}
	if s.MinEntropy == 0 {
		return Spec{}, fmt.Errorf("entropy: %q is no kind of source: hwrng, tpm, processor, jitter or file:PATH", kind)
	}
	if s.Path == "" {
		s.Path = defaultPaths[kind]
	}
	if takesPath := kind == KindFile || defaultPaths[kind] != ""; takesPath != (s.Path != "") {
		if takesPath {
			return Spec{}, fmt.Errorf("entropy: %q names no path: write file:PATH", text)
		}
		return Spec{}, fmt.Errorf("entropy: a source of the kind %s has no path", kind)
	}
	if hasOption {
		bits, found := strings.CutPrefix(option, "min-entropy=")
		value, err := strconv.ParseFloat(bits, 64)
		if !found || err != nil || !(value >= minMinEntropy && value <= 8) {
			return Spec{}, fmt.Errorf("entropy: %q: write min-entropy=BITS, from 0.001 to 8 for each byte", option)
		}
		s.MinEntropy = value
	}
	return s, nil
}

// String is the form that [ParseSpec] reads, without the min-entropy.
func (s Spec) String() string {
	if s.Path == "" {
		return s.Kind
	}
	return s.Kind + ":" + s.Path
}

// open opens the source. It returns an error that wraps ErrUnsupported if the
// machine has none.
func (s Spec) open() (Noise, error) {
	switch s.Kind {
	case KindHardware, KindFile:
		f, err := os.Open(s.Path)
		if errors.Is(err, os.ErrNotExist) && s.Kind == KindHardware {
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		if err != nil {
			return nil, err
		}
		return stream{f}, nil
	case KindTPM:
		return openTPM(s.Path)
	case KindProcessor:
		return openProcessor()
	case KindJitter:
		return newJitter(), nil
	}
	return nil, fmt.Errorf("%w: %q", ErrUnsupported, s.Kind)
}

// stream is a device, a file or a pipe. A file that ends is a source that fails:
// its bytes must not be used twice.
type stream struct{ *os.File }

func (s stream) Read(samples []byte) error {
	_, err := io.ReadFull(s.File, samples)
	return err
}

// errLate marks a source that did not answer in time.
var errLate = errors.New("it did not answer in time")

// openWithin opens a source, or gives up with errLate: a pipe that nobody writes
// to does not even open.
func openWithin(wait time.Duration, spec Spec) (Noise, error) {
	type opened struct {
		noise Noise
		err   error
	}
	done := make(chan opened, 1)
	go func() {
		noise, err := spec.open()
		done <- opened{noise, err}
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.noise, o.err
	case <-timer.C:
		go func() {
			if o := <-done; o.err == nil {
				_ = o.noise.Close()
			}
		}()
		return nil, fmt.Errorf("%w: %s", errLate, wait)
	}
}

// readWithin reads samples, or gives up with errLate. Then the source is not to be
// touched any more: what comes too late goes to a buffer that nobody uses, and
// the source is closed when its read returns, if it ever does.
func readWithin(wait time.Duration, n Noise, samples []byte) error {
	done := make(chan error, 1)
	late := make([]byte, len(samples))
	go func() { done <- n.Read(late) }()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-done:
		copy(samples, late)
		clear(late)
		return err
	case <-timer.C:
		go func() {
			<-done
			clear(late)
			_ = n.Close()
		}()
		return fmt.Errorf("%w: %s", errLate, wait)
	}
}
