package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"zeropass.dev/zeropass/canonical"
)

const version = 1

// Operations.
const (
	opKeys byte = iota + 1
	opSign
	opOpen
	opSealFile
	opOpenFile
	opSealKeys
	opLock
	opStatus
	opBackground
)

// Results.
const (
	done byte = iota
	refused
	notOpened
	otherHome
	otherVersion
	notifying
)

// maxFrame is the size in bytes of the largest frame: a file of a home and what
// belongs to it.
const maxFrame = canonical.MaxSize + 1<<20

var errFrame = errors.New("agent: not a frame of its protocol")

// frame is a request or an answer.
type frame struct {
	version byte
	code    byte // operation or result
	parts   [][]byte
}

// encode returns the frame with its length before it.
func (f frame) encode() []byte {
	n := 2
	for _, p := range f.parts {
		n += 4 + len(p)
	}
	b := make([]byte, 0, 4+n) // exactly: growing would leave secrets behind
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = append(b, f.version, f.code)
	for _, p := range f.parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// parseFrame reads a frame without its length. The parts are parts of b.
func parseFrame(b []byte) (frame, error) {
	if len(b) < 2 {
		return frame{}, errFrame
	}
	f := frame{version: b[0], code: b[1]}
	for b = b[2:]; len(b) > 0; {
		if len(b) < 4 {
			return frame{}, errFrame
		}
		n := uint64(binary.BigEndian.Uint32(b))
		if n > uint64(len(b)-4) {
			return frame{}, errFrame
		}
		f.parts = append(f.parts, b[4:4+n:4+n])
		b = b[4+n:]
	}
	return f, nil
}

// receive reads a frame with its length before it. The caller erases the bytes.
func receive(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("%w: %d bytes", errFrame, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		clear(b)
		return nil, err
	}
	return b, nil
}

// send writes a frame and erases what it wrote.
func send(w io.Writer, f frame) error {
	b := f.encode()
	defer clear(b)
	_, err := w.Write(b)
	return err
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
