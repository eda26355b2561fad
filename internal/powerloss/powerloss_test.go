package powerloss

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// seeds is in how many power cuts chance must show all that it can do.
const seeds = 80

// mount mounts a disk until the test ends, whatever happens to it.
func mount(t *testing.T, d *Disk, dir string) *Mounted {
	t.Helper()
	m, err := Mount(d, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Unmount)
	return m
}

// cutting runs a program on a disk, cuts the power, and looks at what is left; it
// does so with many seeds.
func cutting(t *testing.T, program func(dir string) error, look func(dir string)) {
	t.Helper()
	for seed := range uint64(seeds) {
		dir := t.TempDir()
		m := mount(t, New(seed), dir)
		if err := program(dir); err != nil {
			t.Fatal(err)
		}
		m.Unmount()
		after, _ := m.AfterPowerCut()
		m = mount(t, after, dir)
		look(dir)
		m.Unmount()
	}
}

// Of two programs that replace a file, the one that forgets to sync is caught, and
// the one that does not forget is not.
func TestForgettingToSyncIsCaught(t *testing.T) {
	for _, test := range []struct {
		name              string
		syncFile, syncDir bool
		want              []string // that it is seen as, at some time
	}{
		{"forgets both", false, false, []string{"old", "new", "torn"}},
		{"forgets the file", false, true, []string{"new", "torn"}},
		{"forgets the directory", true, false, []string{"old", "new"}},
		{"forgets nothing", true, true, []string{"new"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			old, new := bytes.Repeat([]byte("old"), 700), bytes.Repeat([]byte("new"), 700)
			seen := map[string]int{}
			cutting(t, func(dir string) error {
				if err := replace(dir, old, true, true); err != nil {
					return err
				}
				return replace(dir, new, test.syncFile, test.syncDir)
			}, func(dir string) {
				b, err := os.ReadFile(filepath.Join(dir, "file"))
				switch {
				case err != nil:
					t.Fatal(err)
				case bytes.Equal(b, old):
					seen["old"]++
				case bytes.Equal(b, new):
					seen["new"]++
				default:
					seen["torn"]++
				}
			})
			for _, want := range test.want {
				if seen[want] == 0 {
					t.Errorf("it is never %s: %v", want, seen)
				}
				delete(seen, want)
			}
			if len(seen) > 0 {
				t.Errorf("it is also %v", seen)
			}
		})
	}
}

// replace writes a file beside the old one and renames it into place.
func replace(dir string, contents []byte, syncFile, syncDir bool) error {
	f, err := os.Create(filepath.Join(dir, "file new"))
	if err != nil {
		return err
	}
	_, err = f.Write(contents)
	if syncFile {
		err = errors.Join(err, f.Sync())
	}
	err = errors.Join(err, f.Close(), os.Rename(f.Name(), filepath.Join(dir, "file")))
	if syncDir {
		err = errors.Join(err, syncPath(dir))
	}
	return err
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// The sectors of one write reach the disk each on its own, and a later write
// without an earlier one.
func TestWritesAreTornAndReordered(t *testing.T) {
	seen := map[string]int{}
	cutting(t, func(dir string) error {
		f, err := os.Create(filepath.Join(dir, "file"))
		if err != nil {
			return err
		}
		_, err = f.Write(bytes.Repeat([]byte("a"), 3*sectorSize))
		err = errors.Join(err, f.Sync(), syncPath(dir))
		_, write := f.WriteAt(bytes.Repeat([]byte("b"), 2*sectorSize), 0)
		_, last := f.WriteAt(bytes.Repeat([]byte("c"), sectorSize), 2*sectorSize)
		return errors.Join(err, write, last, f.Close())
	}, func(dir string) {
		b, err := os.ReadFile(filepath.Join(dir, "file"))
		if err != nil || len(b) != 3*sectorSize {
			t.Fatal(len(b), err)
		}
		for s := range 3 {
			sector := b[s*sectorSize:][:sectorSize]
			if !bytes.Equal(sector, bytes.Repeat(sector[:1], sectorSize)) {
				t.Fatalf("sector %d is torn", s)
			}
		}
		seen[string([]byte{b[0], b[sectorSize], b[2*sectorSize]})]++
	})
	for _, want := range []string{"aaa", "aac", "aba", "abc", "baa", "bac", "bba", "bbc"} {
		if seen[want] == 0 {
			t.Errorf("never %s: %v", want, seen)
		}
	}
}

// Every way to sync keeps what was written before it.
func TestWaysToSync(t *testing.T) {
	for name, sync := range map[string]struct {
		flags int
		sync  func(fd int) error
	}{
		"fsync":     {0, unix.Fsync},
		"fdatasync": {0, unix.Fdatasync},
		"O_SYNC":    {unix.O_SYNC, nil},
		"O_DSYNC":   {unix.O_DSYNC, nil},
		"msync":     {0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cutting(t, func(dir string) error {
				f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_CREATE|os.O_RDWR|sync.flags, 0o600)
				if err != nil {
					return err
				}
				_, err = f.Write([]byte("written"))
				switch {
				case sync.sync != nil:
					err = errors.Join(err, sync.sync(int(f.Fd())))
				case sync.flags == 0:
					cmd := exec.Command(os.Args[0])
					cmd.Env = append(os.Environ(), asMapper+"="+f.Name())
					err = errors.Join(err, cmd.Run())
				}
				return errors.Join(err, syncPath(dir), f.Close())
			}, func(dir string) {
				want := "written"
				if name == "msync" {
					want = "through"
				}
				if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != want {
					t.Fatalf("%q, %v", b, err)
				}
			})
		})
	}
}

// asMapper in the environment makes the test binary a program that writes to the
// file that it names through memory. It is another process, since one that waits for
// a page of a file cannot answer the kernel's question for that page.
const asMapper = "ZEROPASS_TEST_MAPPER"

func TestMain(m *testing.M) {
	if path := os.Getenv(asMapper); path != "" {
		if err := writeMapped(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func writeMapped(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, 7, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(b, "through")
	return errors.Join(unix.Msync(b, unix.MS_SYNC), unix.Munmap(b), f.Close())
}

// sync_file_range promises nothing after a power cut.
func TestSyncFileRangeIsNoSync(t *testing.T) {
	lost := 0
	cutting(t, func(dir string) error {
		f, err := os.Create(filepath.Join(dir, "file"))
		if err != nil {
			return err
		}
		_, err = f.Write([]byte("written"))
		const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		return errors.Join(err, unix.SyncFileRange(int(f.Fd()), 0, 7, wait), syncPath(dir), f.Close())
	}, func(dir string) {
		if b, _ := os.ReadFile(filepath.Join(dir, "file")); string(b) != "written" {
			lost++
		}
	})
	if lost == 0 {
		t.Error("nothing was lost")
	}
}

// What was removed and not synced may come back, and what was in a directory that
// was not synced is gone with it.
func TestNames(t *testing.T) {
	back, gone := 0, 0
	cutting(t, func(dir string) error {
		inside := filepath.Join(dir, "new", "file")
		err := errors.Join(os.WriteFile(filepath.Join(dir, "old"), nil, 0o600), syncPath(dir), os.Remove(filepath.Join(dir, "old")),
			os.Mkdir(filepath.Dir(inside), 0o700), os.WriteFile(inside, nil, 0o600), syncPath(filepath.Dir(inside)))
		return err
	}, func(dir string) {
		if _, err := os.Stat(filepath.Join(dir, "old")); err == nil {
			back++
		}
		if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
			gone++
		} else if _, err := os.Stat(filepath.Join(dir, "new", "file")); err != nil {
			t.Fatal("the directory is there, and what was synced in it is not")
		}
	})
	if back == 0 || back == seeds || gone == 0 || gone == seeds {
		t.Errorf("of %d, %d came back and %d were gone", seeds, back, gone)
	}
}

// After the cut nothing is answered, and what was synced before is there.
func TestCutAfter(t *testing.T) {
	dir := t.TempDir()
	m := mount(t, New(1), dir)
	f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err := errors.Join(err, syncPath(dir)); err != nil {
		t.Fatal(err)
	}
	called := false
	m.CutAfter(10, func() { called = true })
	var written []byte
	for err == nil {
		b := append(written, 'x')
		if _, err = f.WriteString("x"); err == nil {
			err = f.Sync()
		}
		if err == nil {
			written = b
		}
	}
	if !errors.Is(err, syscall.EIO) || !called || len(written) != 4 {
		t.Errorf("%v, %v, %d written", err, called, len(written))
	}
	_ = f.Close()
	m.Unmount()
	after, _ := m.AfterPowerCut()
	mount(t, after, dir)
	if b, err := os.ReadFile(f.Name()); err != nil || !bytes.HasPrefix(b, written) || len(b) > len(written)+1 {
		t.Errorf("%q, %v", b, err)
	}
}

// A sync that failed has lost what it should write, though it is still read and
// the next sync succeeds: as Linux does.
func TestFailSync(t *testing.T) {
	lost := 0
	for seed := range uint64(seeds) {
		dir := t.TempDir()
		m := mount(t, New(seed), dir)
		f, err := os.Create(filepath.Join(dir, "file"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString("written")
		m.FailSync(1)
		if failed := f.Sync(); err != nil || !errors.Is(failed, syscall.EIO) {
			t.Fatal(err, failed)
		}
		b, read := os.ReadFile(f.Name())
		if err := errors.Join(f.Sync(), syncPath(dir), f.Close(), read); err != nil || string(b) != "written" {
			t.Fatalf("%q, %v", b, err)
		}
		m.Unmount()
		after, _ := m.AfterPowerCut()
		m = mount(t, after, dir)
		if b, _ := os.ReadFile(f.Name()); string(b) != "written" {
			lost++
		}
		m.Unmount()
	}
	if lost == 0 || lost == seeds {
		t.Errorf("of %d, %d were lost", seeds, lost)
	}
}

func TestSetFull(t *testing.T) {
	dir := t.TempDir()
	m := mount(t, New(1), dir)
	m.SetFull(true)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); !errors.Is(err, syscall.ENOSPC) || m.Refusals() == 0 {
		t.Errorf("%v, %d refused", err, m.Refusals())
	}
	m.SetFull(false)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
}

// A file without a name gets one that is durable when its directory is synced, and
// is nowhere before.
func TestFileWithoutAName(t *testing.T) {
	seen := map[string]int{}
	cutting(t, func(dir string) error {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "file")
		_, err = f.WriteString("written")
		return errors.Join(err, f.Sync(), unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, filepath.Join(dir, "file"), unix.AT_SYMLINK_FOLLOW), f.Close())
	}, func(dir string) {
		b, _ := os.ReadFile(filepath.Join(dir, "file"))
		seen[string(b)]++
	})
	if seen[""] == 0 || seen["written"] == 0 || len(seen) != 2 {
		t.Errorf("%v", seen)
	}
}

// A clean shutdown loses nothing.
func TestSyncAll(t *testing.T) {
	for seed := range uint64(8) {
		dir := t.TempDir()
		m := mount(t, New(seed), dir)
		if err := replace(dir, []byte("new"), false, false); err != nil {
			t.Fatal(err)
		}
		m.SyncAll()
		m.Unmount()
		after, _ := m.AfterPowerCut()
		m = mount(t, after, dir)
		if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "new" {
			t.Errorf("%q, %v", b, err)
		}
		m.Unmount()
	}
}

// The same seed and the same changes leave the same.
func TestSeed(t *testing.T) {
	var left [2][]byte
	for i := range left {
		d := New(7)
		n := d.add(syscall.S_IFREG|0o600, 0, 0)
		d.rename(name{root, "file", n.number})
		d.syncNames(root)
		for at := range 50 {
			d.changes++
			n.file.write(d.changes, int64(at*100), bytes.Repeat([]byte{byte(at)}, 1000))
		}
		after, _ := d.AfterPowerCut()
		left[i] = after.nodes[n.number].file.data
	}
	if !bytes.Equal(left[0], left[1]) {
		t.Error("it differs")
	}
}
