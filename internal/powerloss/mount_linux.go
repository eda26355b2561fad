package powerloss

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mounted is a disk that is mounted.
type Mounted struct {
	*Disk
	dir    string
	server *fuse.Server
}

// Mount mounts a disk on a directory, which it makes if it is missing.
func Mount(d *Disk, dir string) (*Mounted, error) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return nil, fmt.Errorf("a power cut is tried on a FUSE file system, and this machine has no /dev/fuse: load the module fuse, or give it to the container: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	server, err := fuse.NewServer(&served{RawFileSystem: fuse.NewDefaultRawFileSystem(), disk: d, listings: map[uint64][]fuse.DirEntry{}}, dir, &fuse.MountOptions{
		FsName: "powerloss", Name: "powerloss",
		// Root mounts by itself; others need fusermount3, which make test installs.
		DirectMountStrict: os.Getuid() == 0,
		// Nobody else changes what the kernel has seen.
		ExplicitDataCacheControl: true,
		DisableReadDirPlus:       true,
		DisableXAttrs:            true,
		MaxWrite:                 128 << 10,
		Options:                  []string{"default_permissions"},
	})
	if err != nil {
		return nil, fmt.Errorf("FUSE file systems cannot be mounted here; run make test, which installs fusermount3, or run as root: %w", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return nil, errors.Join(err, unmount(dir))
	}
	return &Mounted{d, dir, server}, nil
}

// Unmount takes the disk away, from those too who still use it.
func (m *Mounted) Unmount() {
	m.Cut()
	_ = unmount(m.dir)
	m.server.Wait()
}

// unmount takes a file system out of the tree at once; it ends when nobody uses
// it.
func unmount(dir string) error {
	if os.Getuid() == 0 {
		return syscall.Unmount(dir, syscall.MNT_DETACH)
	}
	return exec.Command("fusermount3", "-u", "-z", dir).Run()
}

// forGood is how long the kernel may keep what it was told.
const forGood = 24 * time.Hour
