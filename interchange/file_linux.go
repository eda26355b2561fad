package interchange

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// createUnnamed creates a file with mode 0600 that has no name, and is gone when
// it is closed without one: O_TMPFILE of open(2).
func createUnnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), dir)
	// Without /proc it could not be given a name.
	if _, err := os.Stat(ownFile(f)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// nameUnnamed gives the file a name, unless something has it: fs.ErrExist.
func nameUnnamed(f *os.File, path string) error {
	err := unix.Linkat(unix.AT_FDCWD, ownFile(f), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &os.PathError{Op: "linkat", Path: path, Err: err}
	}
	return nil
}

func ownFile(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
