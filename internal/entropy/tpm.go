package entropy

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

var errTPM = errors.New("the TPM gives nothing")

// tpmDraw is how many bytes are asked for at once. A TPM gives at most as many as
// its largest digest has, TPM 2.0 Library part 3, section 16.1.
const tpmDraw = 32

// tpm is the generator of a TPM 2.0.
type tpm struct{ transport.TPMCloser }

func openTPM(path string) (Noise, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	open := linuxtpm.Open
	if info.Mode()&os.ModeSocket != 0 {
		open = linuxudstpm.Open
	}
	t, err := open(path)
	if err != nil {
		return nil, err
	}
	return tpm{t}, nil
}

func (t tpm) Read(samples []byte) error {
	for len(samples) > 0 {
		answer, err := tpm2.GetRandom{BytesRequested: uint16(min(len(samples), tpmDraw))}.Execute(t.TPMCloser)
		if err != nil {
			return err
		}
		given := answer.RandomBytes.Buffer
		if len(given) == 0 {
			return errTPM
		}
		samples = samples[copy(samples, given):]
		clear(given)
	}
	return nil
}
