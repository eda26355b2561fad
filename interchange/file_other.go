//go:build !linux

package interchange

import (
	"errors"
	"os"
)

// createUnnamed fails: only Linux has files without a name.
func createUnnamed(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// nameUnnamed is never called.
func nameUnnamed(*os.File, string) error { return errors.ErrUnsupported }
