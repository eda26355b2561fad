package entropy

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"zeropass.dev/zeropass/internal/keystore/keystoretest"
	"zeropass.dev/zeropass/signing"
)

// noiseFile is an operator's file with this many random bytes, changed by f.
func noiseFile(t *testing.T, size int, f func([]byte)) Spec {
	t.Helper()
	b := make([]byte, size)
	_, _ = rand.Read(b)
	if f != nil {
		f(b)
	}
	path := filepath.Join(t.TempDir(), "noise")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return Spec{Kind: KindFile, Path: path, MinEntropy: 4}
}

func newService(t *testing.T, allowOS bool, specs ...Spec) (*Service, *bytes.Buffer, error) {
	t.Helper()
	var log bytes.Buffer
	s, err := New(Config{System: rand.Reader, Sources: specs, AllowOS: allowOS, Wait: time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, &log, err
}

const halfSamples = drawBits / 4 // of a source of 4 bits

// A half is what the documentation says, computed here with nothing but HMAC.
func TestHalfAsDocumented(t *testing.T) {
	system := bytes.Repeat([]byte{7}, systemSize)
	specs := []Spec{noiseFile(t, startSamples+halfSamples, nil), noiseFile(t, startSamples+halfSamples, nil)}
	s, err := New(Config{System: bytes.NewReader(system), Sources: specs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	half, sources, err := s.Half()
	if err != nil || !slices.Equal(sources, []string{"os", "file", "file"}) {
		t.Fatalf("from %v: %v", sources, err)
	}
	secret := bytes.Clone(system)
	for _, spec := range specs {
		b, err := os.ReadFile(spec.Path)
		if err != nil {
			t.Fatal(err)
		}
		secret = append(secret, b[startSamples:]...)
	}
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	key := mac(make([]byte, sha256.Size), secret)
	if want := mac(key, signing.NewContext("seed-server").Encode(), []byte{1}); !bytes.Equal(half, want) {
		t.Errorf("half %x, want %x", half, want)
	}
}

func TestSourcesThatFail(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	stuck := func(b []byte) { clear(b[len(b)/2:]) }
	biased := func(b []byte) {
		for i := 0; i < len(b); i += 3 {
			b[i] = 0
		}
	}
	const enough = startSamples + 4*halfSamples
	for _, c := range []struct {
		name  string
		spec  Spec
		start bool // sound after the start
		cause error
	}{
		{"stuck at the start", noiseFile(t, startSamples, stuck), false, ErrRepetition},
		{"biased at the start", noiseFile(t, enough, biased), false, ErrProportion},
		{"missing file", Spec{Kind: KindFile, Path: "/nowhere/noise", MinEntropy: 4}, false, os.ErrNotExist},
		{"missing generator", Spec{Kind: KindHardware, Path: "/nowhere/hwrng", MinEntropy: 4}, false, ErrUnsupported},
		{"missing TPM", Spec{Kind: KindTPM, Path: "/nowhere/tpm", MinEntropy: 4}, false, ErrUnsupported},
		{"a pipe that nobody writes to", Spec{Kind: KindFile, Path: fifo, MinEntropy: 4}, false, errLate},
		{"too short for the start", noiseFile(t, startSamples-1, nil), false, nil},
		{"stuck later", noiseFile(t, enough, func(b []byte) { clear(b[startSamples:]) }), true, ErrRepetition},
		{"ends later", noiseFile(t, startSamples, nil), true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			good := noiseFile(t, enough, nil)
			s, log, err := newService(t, false, c.spec, good)
			if err != nil {
				t.Fatal(err)
			}
			if sound := s.Status()[0].Sound; sound != c.start {
				t.Fatalf("sound after the start: %v", sound)
			}
			// Twice: a source that has failed is not asked again, the others go on.
			for range 2 {
				half, sources, err := s.Half()
				if err != nil || len(half) != halfSize || !slices.Equal(sources, []string{"os", "file"}) {
					t.Fatalf("%d bytes from %v, %v", len(half), sources, err)
				}
			}
			status := s.Status()
			if status[0].Sound || status[0].Cause == nil || c.cause != nil && !errors.Is(status[0].Cause, c.cause) {
				t.Errorf("the failed source: %+v", status[0])
			}
			if !status[1].Sound {
				t.Errorf("the good source: %+v", status[1])
			}
			if failed := strings.Count(log.String(), "level=ERROR"); failed != 1 && !errors.Is(c.cause, ErrUnsupported) {
				t.Errorf("%d alarms in the log, want 1:\n%s", failed, log)
			}
		})
	}
}

func TestWithoutPhysicalSources(t *testing.T) {
	if _, _, err := newService(t, false); !errors.Is(err, ErrNoPhysical) {
		t.Errorf("without sources: %v", err)
	}
	s, _, err := newService(t, true)
	if err != nil {
		t.Fatal(err)
	}
	half, sources, err := s.Half()
	if err != nil || len(half) != halfSize || !slices.Equal(sources, []string{"os"}) {
		t.Errorf("allowed: %d bytes from %v, %v", len(half), sources, err)
	}
	// The last source fails later.
	s, _, err = newService(t, false, noiseFile(t, startSamples+halfSamples, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Half(); err != nil {
		t.Fatal(err)
	}
	if half, _, err := s.Half(); half != nil || !errors.Is(err, ErrNoPhysical) {
		t.Errorf("after the last source failed: %v", err)
	}
	broken := errors.New("broken")
	s.system = iotest.ErrReader(broken)
	if half, _, err := s.Half(); half != nil || !errors.Is(err, broken) {
		t.Errorf("without the operating system's generator: %v", err)
	}
}

// This machine's own clock, and its processor and hardware generator where it has
// them, and a TPM.
func TestRealSources(t *testing.T) {
	tpm, err := keystoretest.StartTPM()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tpm.Stop() })
	specs := DefaultSpecs()
	for i := range specs {
		if specs[i].Kind == KindTPM {
			specs[i].Path = tpm.Path
		}
	}
	s, log, err := newService(t, false, specs...)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	_, sources, err := s.Half()
	if err != nil || !slices.Contains(sources, KindJitter) || !slices.Contains(sources, KindTPM) {
		t.Errorf("from %v: %v\n%s", sources, err, log)
	}
	for i, status := range s.Status() {
		if !status.Sound {
			// What a machine offers as its hardware generator need not work.
			if status.Kind != KindHardware && !errors.Is(status.Cause, ErrUnsupported) {
				t.Errorf("%v: %v", status.Spec, status.Cause)
			}
			continue
		}
		if status.Kind != KindJitter && status.Kind != KindProcessor {
			continue // too slow for so many samples
		}
		samples, err := s.Sample(i, 200_000)
		if err != nil {
			t.Errorf("%v: %v", status.Spec, err)
			continue
		}
		if have := MostCommonValue(samples); have < status.MinEntropy {
			t.Errorf("%v has %.2f bits, and %.2f are stated", status.Spec, have, status.MinEntropy)
		}
	}
}

func TestMostCommonValue(t *testing.T) {
	uniform := make([]byte, 1<<20)
	for i := range uniform {
		uniform[i] = byte(i)
	}
	half := bytes.Clone(uniform)
	for i := 0; i < len(half); i += 2 {
		half[i] = 0
	}
	for _, c := range []struct {
		samples []byte
		want    float64
	}{{uniform, 8}, {half, 1}, {make([]byte, 1000), 0}} {
		if got := MostCommonValue(c.samples); math.Abs(got-c.want) > 0.1 || got > c.want {
			t.Errorf("%v bits, want a little less than %v", got, c.want)
		}
	}
}

func TestParseSpec(t *testing.T) {
	for text, want := range map[string]Spec{
		"hwrng":                      {KindHardware, HardwareDevice, 4},
		"hwrng:/dev/other":           {KindHardware, "/dev/other", 4},
		"tpm":                        {KindTPM, TPMDevice, 4},
		"processor":                  {KindProcessor, "", 4},
		"jitter,min-entropy=0.1":     {KindJitter, "", 0.1},
		"file:/x/y,min-entropy=7.99": {KindFile, "/x/y", 7.99},
	} {
		if got, err := ParseSpec(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "dice", "file", "file:", "jitter:/x", "processor:x", "hwrng,min-entropy=0", "hwrng,min-entropy=0.0009", "hwrng,min-entropy=1e-300", "hwrng,min-entropy=9", "hwrng,min-entropy=NaN", "hwrng,min-entropy=", "hwrng,bits=1"} {
		if got, err := ParseSpec(text); err == nil || got != (Spec{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}
