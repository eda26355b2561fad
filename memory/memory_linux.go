package memory

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hideProcess takes the memory of the process from everybody but root: prctl(2),
// PR_SET_DUMPABLE.
func hideProcess() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("memory: hide the process: %w", err)
	}
	return nil
}

// excludeFromDumps also covers dumps that somebody takes with a debugger.
func excludeFromDumps(b []byte) error {
	if err := unix.Madvise(b, unix.MADV_DONTDUMP); err != nil {
		return fmt.Errorf("memory: keep a page out of dumps: %w", err)
	}
	return nil
}
