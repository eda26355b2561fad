package home

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// takeLock makes this process the one that writes the home. The lock is gone
// with the process, however that ends. The file's content, the process's
// number, only helps to find it.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, fileMode)
	if err != nil {
		return nil, writeError(err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = busy(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	// A full disk is no reason to refuse: nobody needs the number to be right.
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return f, nil
}

func busy(f *os.File) error {
	const advice = "close it there, or wait until it is done"
	if pid := holder(f); pid > 0 {
		return fmt.Errorf("%w, number %d: %s", ErrBusy, pid, advice)
	}
	return fmt.Errorf("%w: %s", ErrBusy, advice)
}

// Holder returns the number of the process that has the home's lock, or had it
// last, and 0 if that cannot be told.
func Holder(dir string) int {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	return holder(f)
}

func holder(f *os.File) int {
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
