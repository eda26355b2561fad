package home

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"zeropass.dev/zeropass/canonical"
)

// A framed file is a line of ASCII that says what it is, its magic, and then
// frames one after the other:
//
//	length of the payload, 4 bytes big-endian, at least 1
//	CRC-32C (RFC 3720 appendix B.4) of the payload, 4 bytes big-endian
//	payload
//
// The checksum is against accidents. Against people stand the signatures and
// the encryption of what is in the frames.

const (
	frameHeader = 8
	// maxPayload is the size in bytes of the largest payload: no message may be
	// larger.
	maxPayload = canonical.MaxSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends a frame to b.
func appendFrame(b, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}

// scan reads the frames of a file of that size and gives each payload, which
// is its own to keep, to the function. It returns where the last intact frame
// ends: at size, or before, where an append was cut short. Anything else that
// is not intact, or that the function refuses, is a *DamageError, with which end
// is right too.
func scan(r io.ReaderAt, size int64, file string, each func(offset int64, payload []byte) error) (end int64, err error) {
	first := magic(file)
	head := make([]byte, len(first))
	if n, err := r.ReadAt(head, 0); n < len(head) && err != nil && err != io.EOF {
		return 0, fmt.Errorf("home: read %s: %w", file, err)
	}
	if string(head) != first {
		return 0, &DamageError{File: file, Reason: fmt.Sprintf("it does not start with %q", first)}
	}
	at := int64(len(first))
	buffered := bufio.NewReaderSize(io.NewSectionReader(r, at, size-at), 1<<20)
	for at < size {
		payload, err := readFrame(buffered, size-at)
		if errors.Is(err, errFrame) {
			return at, damageOrTail(r, at, size, file)
		}
		if err != nil {
			return at, fmt.Errorf("home: read %s: %w", file, err)
		}
		if err := each(at, payload); err != nil {
			return at, &DamageError{File: file, Offset: at, Reason: err.Error()}
		}
		at += frameHeader + int64(len(payload))
	}
	return at, nil
}

// errFrame: the next bytes are no intact frame.
var errFrame = errors.New("no frame")

// readFrame reads one frame, of which at most remaining bytes are there.
func readFrame(r io.Reader, remaining int64) ([]byte, error) {
	if remaining < frameHeader {
		return nil, errFrame
	}
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint32(header[:]))
	if length == 0 || length > maxPayload || length > remaining-frameHeader {
		return nil, errFrame
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, err
	}
	if crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(header[4:]) {
		return nil, errFrame
	}
	return payload, nil
}

// damageOrTail tells an append that was cut short, for which it returns nil,
// from damage. Frames are made durable one at a time, so only the last one can
// be incomplete, whatever bytes of it the disk has: nothing stands behind it.
func damageOrTail(r io.ReaderAt, at, size int64, file string) error {
	damage := &DamageError{File: file, Offset: at}
	if size-at > frameHeader+maxPayload {
		damage.Reason = "no frame is that long"
		return damage
	}
	tail := make([]byte, size-at)
	if _, err := r.ReadAt(tail, at); err != nil && err != io.EOF {
		return fmt.Errorf("home: read %s: %w", file, err)
	}
	if len(tail) < frameHeader {
		return nil
	}
	length := int64(binary.BigEndian.Uint32(tail))
	if length > 0 && length <= maxPayload && frameHeader+length < int64(len(tail)) {
		damage.Reason = "a checksum is wrong, and more follows"
		return damage
	}
	if next, ok := findFrame(tail[1:]); ok {
		damage.Reason = fmt.Sprintf("%d bytes are no frame, and intact ones follow", next+1)
		return damage
	}
	return nil
}

// findFrame looks for an intact frame anywhere in b.
func findFrame(b []byte) (offset int, ok bool) {
	// Only where another length, or the end, follows is the checksum worth
	// computing: else megabytes would be summed from thousands of places.
	plausible := func(i int) (end int, ok bool) {
		if len(b)-i < frameHeader {
			return 0, false
		}
		length := int64(binary.BigEndian.Uint32(b[i:]))
		if length == 0 || length > int64(len(b)-i-frameHeader) {
			return 0, false
		}
		return i + frameHeader + int(length), true
	}
	if len(bytes.Trim(b, "\x00")) == 0 {
		return 0, false
	}
	for i := range b {
		end, ok := plausible(i)
		if !ok {
			continue
		}
		if _, ok := plausible(end); !ok && end != len(b) && len(b)-end >= frameHeader {
			continue
		}
		if crc32.Checksum(b[i+frameHeader:end], castagnoli) == binary.BigEndian.Uint32(b[i+4:]) {
			return i, true
		}
	}
	return 0, false
}
