//go:build darwin || freebsd

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// dup puts a file in the place of another.
func dup(from, to *os.File) error { return unix.Dup2(int(from.Fd()), int(to.Fd())) }
