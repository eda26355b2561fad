// Package keystoretest runs real keystores for tests: swtpm, a TPM 2.0 in
// software, and gnome-keyring on a session bus of its own. Both keep what they
// store in a temporary directory and end with Stop.
package keystoretest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// patience is how long a program may take to be ready.
const patience = 20 * time.Second

// TPM is a running swtpm.
type TPM struct {
	Path string // of its socket

	dir string
	cmd *exec.Cmd
}

// StartTPM starts a TPM that was never used before.
func StartTPM() (*TPM, error) {
	// Not in the test's directory: the name of a socket has 108 bytes at most.
	dir, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		return nil, err
	}
	t := &TPM{Path: filepath.Join(dir, "socket"), dir: dir}
	t.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir,
		"--server", "type=unixio,path="+t.Path, "--flags", "not-need-init,startup-clear",
		"--log", "file="+filepath.Join(dir, "log"))
	if err := start(t.cmd); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	err = wait("swtpm", func() error {
		conn, err := net.Dial("unix", t.Path)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, t.Stop())
	}
	return t, nil
}

// Clear makes the TPM forget everything, as its owner can.
func (t *TPM) Clear() error {
	tpm, err := linuxudstpm.Open(t.Path)
	if err != nil {
		return err
	}
	_, err = tpm2.Clear{AuthHandle: tpm2.TPMRHLockout}.Execute(tpm)
	return errors.Join(err, tpm.Close())
}

// Stop ends the TPM and removes what it stored.
func (t *TPM) Stop() error {
	if err := t.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = t.cmd.Wait() // killed
	return os.RemoveAll(t.dir)
}

func start(cmd *exec.Cmd) error {
	err := cmd.Start()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: run make test, which installs it", err)
	}
	return err
}

func wait(name string, ready func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v: %w", name, patience, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
