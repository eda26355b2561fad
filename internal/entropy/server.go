package entropy

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"zeropass.dev/zeropass/signing"
)

// Names of sources, as the server's answer says them.
const (
	SourceSystem   = "os"
	SourceHardware = "hwrng"
)

// HardwareDevice is where Linux offers the machine's hardware generator.
const HardwareDevice = "/dev/hwrng"

const (
	halfSize     = 32
	drawSize     = 64
	hardwareWait = 2 * time.Second
)

// ServerHalf makes the server's half of a seed, 32 bytes, from 64 bytes of the
// operating system's generator and, if it can be read, 64 bytes of the hardware
// generator at the path hardware, which is usually [HardwareDevice]:
//
//	HKDF-SHA256 (RFC 5869): secret = system ‖ hardware, no salt,
//	info = the context "seed-server" without parts
//
// It returns which sources went in. A hardware generator that is missing, may
// not be read, fails, is stuck or does not answer within two seconds is left
// out; the operating system's generator is never. Its only errors are system's.
func ServerHalf(system io.Reader, hardware string) (half []byte, sources []string, err error) {
	secret := make([]byte, drawSize, 2*drawSize)
	defer func() { clear(secret[:cap(secret)]) }()
	if _, err := io.ReadFull(system, secret); err != nil {
		return nil, nil, fmt.Errorf("entropy: the operating system's generator: %w", err)
	}
	sources = []string{SourceSystem}
	if drawn, err := readHardware(hardware); err == nil {
		secret = append(secret, drawn...)
		clear(drawn)
		sources = append(sources, SourceHardware)
	}
	info := signing.NewContext("seed-server").Encode()
	half, err = hkdf.Key(sha256.New, secret, nil, string(info), halfSize)
	if err != nil {
		return nil, nil, fmt.Errorf("entropy: the server's half: %w", err)
	}
	return half, sources, nil
}

var errStuck = errors.New("entropy: the hardware generator repeats itself")

// readHardware reads 64 bytes. A generator may block for ever, so it is read
// beside: what comes too late is thrown away with its goroutine.
func readHardware(path string) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		f, err := os.Open(path)
		if err != nil {
			done <- result{err: err}
			return
		}
		defer func() { _ = f.Close() }()
		b := make([]byte, drawSize)
		_, err = io.ReadFull(f, b)
		done <- result{b, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		if stuck(r.b) {
			return nil, errStuck
		}
		return r.b, nil
	case <-time.After(hardwareWait):
		return nil, os.ErrDeadlineExceeded
	}
}

// stuck says whether all bytes are the same, the failure that NIST SP 800-90B
// section 4.4.1 has every source watch for.
func stuck(b []byte) bool {
	for _, c := range b {
		if c != b[0] {
			return false
		}
	}
	return true
}
