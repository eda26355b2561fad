package home

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxSyncedFrames is how many frames one append makes durable one by one. More
// go into a copy of the file that replaces it: with several frames under way at
// once, a power failure could keep a later one and lose an earlier one, which
// looks like damage.
const maxSyncedFrames = 8

// log is an open framed file that only grows.
type log struct {
	path, name string
	file       *os.File
	offsets    []int64 // of every frame
	end        int64
	cut        int64 // bytes of a torn tail that were cut off, or ignored
	failed     error // set when it is not known what the disk has
}

// openLog opens a framed file and gives every payload to each. A torn tail is
// cut off, or left alone if the file is only read. With tolerant, damage ends
// the file as a torn tail would, and is returned beside it.
func openLog(dir, name string, readOnly, tolerant bool, each func([]byte) error) (*log, *DamageError, error) {
	l := &log{path: filepath.Join(dir, name), name: name}
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	var err error
	if l.file, err = os.OpenFile(l.path, flag, 0); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil, &DamageError{File: name, Reason: "it is missing"}
		}
		return nil, nil, fmt.Errorf("home: open %s: %w", name, err)
	}
	damage, err := l.load(readOnly, tolerant, each)
	if err != nil {
		_ = l.file.Close()
		return nil, nil, err
	}
	return l, damage, nil
}

// load reads what the file has.
func (l *log) load(readOnly, tolerant bool, each func([]byte) error) (damage *DamageError, err error) {
	size, err := l.file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("home: read %s: %w", l.name, err)
	}
	l.end, err = scan(l.file, size, l.name, func(offset int64, payload []byte) error {
		if err := each(payload); err != nil {
			return err
		}
		l.offsets = append(l.offsets, offset)
		return nil
	})
	if err != nil && !(tolerant && errors.As(err, &damage) && damage.Offset > 0) {
		return nil, err
	}
	if l.cut = size - l.end; l.cut > 0 && !readOnly {
		return damage, l.truncate()
	}
	return damage, nil
}

// len returns the number of frames, none of a file that could not be opened.
func (l *log) len() int {
	if l == nil {
		return 0
	}
	return len(l.offsets)
}

// read returns the payload of frame i.
func (l *log) read(i int) ([]byte, error) {
	end := l.end
	if i+1 < len(l.offsets) {
		end = l.offsets[i+1]
	}
	at := l.offsets[i]
	payload, err := readFrame(io.NewSectionReader(l.file, at, end-at), end-at)
	if errors.Is(err, errFrame) {
		return nil, &DamageError{File: l.name, Offset: at, Reason: "it has changed since it was opened"}
	}
	if err != nil {
		return nil, fmt.Errorf("home: read %s: %w", l.name, err)
	}
	return payload, nil
}

// append adds frames and makes them durable: all of them, or none if it returns
// an error. A crash meanwhile leaves the first ones, or none.
func (l *log) append(payloads ...[]byte) error {
	if l.failed != nil {
		return l.failed
	}
	for _, p := range payloads {
		if len(p) == 0 || len(p) > maxPayload {
			return fmt.Errorf("home: append to %s: a payload of %d bytes, want 1 to %d", l.name, len(p), maxPayload)
		}
	}
	if len(payloads) > maxSyncedFrames {
		return l.extend(payloads)
	}
	before, frames := l.end, len(l.offsets)
	for _, p := range payloads {
		if err := l.appendOne(p); err != nil {
			l.end, l.offsets = before, l.offsets[:frames]
			return errors.Join(writeError(err), l.truncate())
		}
	}
	return nil
}

func (l *log) appendOne(payload []byte) error {
	frame := appendFrame(nil, payload)
	if _, err := l.file.WriteAt(frame, l.end); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.offsets = append(l.offsets, l.end)
	l.end += int64(len(frame))
	return nil
}

// truncate cuts the file at its known end. If that fails, the file takes
// nothing more until it is opened again: a frame behind an unknown tail would be
// damage.
func (l *log) truncate() error {
	err := l.file.Truncate(l.end)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		l.failed = fmt.Errorf("%w: %s: what the disk has is not known; restart the program: %w", ErrWrite, l.name, err)
	}
	return l.failed
}

// extend replaces the file by a copy with more frames.
func (l *log) extend(payloads [][]byte) error {
	return l.replace(func(w io.Writer) error {
		_, err := io.Copy(w, io.NewSectionReader(l.file, 0, l.end))
		return err
	}, l.offsets, l.end, payloads)
}

// rewrite replaces all frames.
func (l *log) rewrite(payloads [][]byte) error {
	return l.replace(func(w io.Writer) error {
		_, err := io.WriteString(w, magic(l.name))
		return err
	}, nil, int64(len(magic(l.name))), payloads)
}

// replace puts a new file in place, of which start writes what has these
// offsets and this end.
func (l *log) replace(start func(io.Writer) error, offsets []int64, end int64, payloads [][]byte) (err error) {
	f, err := createUnfinished(l.path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := start(w); err != nil {
		return writeError(err)
	}
	offsets = offsets[:len(offsets):len(offsets)]
	for _, p := range payloads {
		offsets = append(offsets, end)
		n, err := w.Write(appendFrame(nil, p))
		if err != nil {
			return writeError(err)
		}
		end += int64(n)
	}
	if err := w.Flush(); err != nil {
		return writeError(err)
	}
	if err := f.Sync(); err != nil {
		return writeError(err)
	}
	if err := os.Rename(f.Name(), l.path); err != nil {
		return writeError(err)
	}
	// From here on the new file is the file, durable name or not.
	_ = l.file.Close()
	l.file, l.offsets, l.end, l.failed = f, offsets, end, nil
	if err := syncDir(filepath.Dir(l.path)); err != nil {
		l.failed = fmt.Errorf("%w: %s: restart the program: %w", ErrWrite, l.name, err)
	}
	return nil
}

func (l *log) close() error { return l.file.Close() }
