package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

var programs = []string{"zeropass-server", "zeropass", "zeropass-recover"}

// build is the programs for one architecture.
type build struct {
	dir, arch string
	version   string // what the programs say, v1.2.3 or Go's pseudo-version of a commit
	time      time.Time
}

func (b *build) program(name string) string { return filepath.Join(b.dir, name) }

// compile builds the programs. They need nothing of the system that they run on: no
// C library, and no path of the machine that built them is in them.
func compile(source, dir, arch string) (*build, error) {
	args := []string{"build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid=", "-o", dir + "/"}
	for _, name := range programs {
		args = append(args, "./cmd/"+name)
	}
	c := exec.Command("go", args...)
	c.Dir = source
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build for %s: %w\n%s", arch, err, out)
	}
	info, err := buildinfo.ReadFile(filepath.Join(dir, programs[0]))
	if err != nil {
		return nil, err
	}
	b := &build{dir: dir, arch: arch, version: info.Main.Version}
	b.time, err = sourceTime(info)
	return b, err
}

// sourceTime is the time that files and packages bear.
func sourceTime(info *debug.BuildInfo) (time.Time, error) {
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			return time.Parse(time.RFC3339, s.Value)
		}
	}
	return time.Time{}, fmt.Errorf("git says no time of the commit: build from a work tree with its history")
}

// debianVersion orders as Go's versions do: what comes before a release has a tilde,
// which sorts before the end (deb-version(7)).
func debianVersion(version string) string {
	release, meta, dirty := strings.Cut(strings.TrimPrefix(version, "v"), "+")
	release, before, early := strings.Cut(release, "-")
	if early {
		release += "~" + strings.ReplaceAll(before, "-", ".")
	}
	if dirty {
		release += "+" + meta
	}
	return release
}

// imageTag is a version in the letters that the tag of an image may have.
func imageTag(version string) string {
	return strings.ReplaceAll(strings.TrimPrefix(version, "v"), "+", "-")
}
