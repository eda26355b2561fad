// Command packaging builds what operators install: Debian packages of the server
// and of the programs for devices, and container images of the server.
//
//	go run . [-source DIR] [-output DIR] [-arch amd64,arm64]
//
// The same commit gives the same bytes, wherever it is built with the same version
// of Go: every time in them is the commit's, or SOURCE_DATE_EPOCH
// (reproducible-builds.org/specs/source-date-epoch).
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

func main() {
	source := flag.String("source", "..", "the work tree, with git's history")
	output := flag.String("output", "../dist", "directory for what is built")
	arch := flag.String("arch", "amd64,arm64", "architectures, as Go names them")
	flag.Parse()
	if err := pack(*source, *output, strings.Split(*arch, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

// pack builds everything for each architecture, and SHA256SUMS over all of it.
func pack(source, output string, architectures []string) error {
	scratch, err := os.MkdirTemp("", "zeropass-packaging-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }() // what is left there harms nobody
	if err := os.MkdirAll(output, 0o755); err != nil {
		return err
	}
	own, err := compile(source, filepath.Join(scratch, runtime.GOARCH), runtime.GOARCH)
	if err != nil {
		return err
	}
	notes, err := writeNotes(source, filepath.Join(scratch, "notes"), own)
	if err != nil {
		return err
	}
	var files []string
	for _, arch := range architectures {
		b := own
		if arch != runtime.GOARCH {
			if b, err = compile(source, filepath.Join(scratch, arch), arch); err != nil {
				return err
			}
		}
		for _, p := range []debianPackage{serverPackage(source, b, notes), devicePackage(source, b, notes)} {
			file, err := p.write(output, b)
			if err != nil {
				return fmt.Errorf("%s for %s: %w", p.name, arch, err)
			}
			files = append(files, file)
		}
		file, err := writeImage(output, b, notes)
		if err != nil {
			return fmt.Errorf("image for %s: %w", arch, err)
		}
		files = append(files, file)
	}
	return writeSums(output, files)
}

// writeSums writes and prints the files' hashes, as sha256sum --check reads them.
func writeSums(output string, files []string) error {
	slices.Sort(files)
	var sums strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(output, file))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), file)
	}
	fmt.Print(sums.String())
	return os.WriteFile(filepath.Join(output, "SHA256SUMS"), []byte(sums.String()), 0o644)
}
