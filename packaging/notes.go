package main

import (
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// writeNotes writes what goes with the programs and is the same for every
// architecture: manuals, completions, licences. Programs that run on this machine
// say what stands in them.
func writeNotes(source, dir string, b *build) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range programs {
		page, err := manual(b, name)
		if err != nil {
			return "", err
		}
		if err := writeGzip(filepath.Join(dir, name+".1.gz"), page); err != nil {
			return "", err
		}
		licences, err := licences(source, b.program(name))
		if err != nil {
			return "", err
		}
		if err := writeGzip(filepath.Join(dir, name+".licences.gz"), licences); err != nil {
			return "", err
		}
	}
	for _, name := range []string{"zeropass-server", "zeropass"} {
		for _, shell := range []string{"bash", "zsh", "fish"} {
			script, err := exec.Command(b.program(name), "completion", shell).Output()
			if err != nil {
				return "", fmt.Errorf("%s completion %s: %w", name, shell, err)
			}
			if err := os.WriteFile(filepath.Join(dir, name+"."+shell), script, 0o644); err != nil {
				return "", err
			}
		}
	}
	changes, err := os.ReadFile(filepath.Join(source, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	if err := writeGzip(filepath.Join(dir, "changelog.gz"), changes); err != nil {
		return "", err
	}
	for _, name := range []string{"zeropass-server", "zeropass"} {
		entry := fmt.Sprintf("%s (%s-1) unstable; urgency=medium\n\n  * What changed stands in changelog.gz.\n\n -- %s  %s\n",
			name, debianVersion(b.version), maintainer, b.time.Format(time.RFC1123Z))
		if err := writeGzip(filepath.Join(dir, name+".debian.gz"), []byte(entry)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// writeGzip compresses as gzip -9n does: no name and no time in the header.
func writeGzip(file string, content []byte) error {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, packed.Bytes(), 0o644)
}

// licences returns the licences of everything that is linked into a program, which
// most of them want to see in copies of it.
func licences(source, program string) ([]byte, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	args := []string{"list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}"}
	for _, m := range info.Deps {
		args = append(args, m.Path)
	}
	list := exec.Command("go", args...)
	list.Dir = source
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("the modules' licences: %w", err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	modules := append(strings.Split(strings.TrimSpace(string(out)), "\n"), "Go "+info.GoVersion+"\t"+strings.TrimSpace(string(root)))
	var all bytes.Buffer
	for _, module := range modules {
		name, dir, _ := strings.Cut(module, "\t")
		files, err := licenceFiles(dir)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s has no licence in %s", name, dir)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&all, "======== %s: %s ========\n\n%s\n", name, filepath.Base(file), text)
		}
	}
	return all.Bytes(), nil
}

func licenceFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if !e.IsDir() && slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE"}, func(word string) bool { return strings.HasPrefix(name, word) }) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}
