package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openPTY returns the two ends of a new terminal: what a person sees and types
// on, and what the program has.
func openPTY(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// Whoever looks over the shoulder sees neither passphrase nor words, and the
// terminal shows again what is typed when the program is done, or stopped.
func TestNothingTypedIsShown(t *testing.T) {
	const fixture = "../../recovery/testdata/fixture-v1/"
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(fixture, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, stopped := range []bool{false, true} {
		person, in := openPTY(t)
		before, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
		defer stop()
		prompts, errs := io.Pipe()
		code := make(chan exitCode, 1)
		go func() {
			code <- run(ctx, []string{"--home", fixture + "home", "--output", filepath.Join(t.TempDir(), "out.json")}, in, io.Discard, errs)
			_ = errs.Close()
		}()
		lines := bufio.NewReader(prompts)
		if prompt, err := lines.ReadString(':'); err != nil || !strings.HasPrefix(prompt, "Passphrase of ") {
			t.Fatalf("%q, %v", prompt, err)
		}
		answers := []string{read("passphrase.txt"), read("words/contact-1.txt") + "\n", read("words/contact-2.txt") + "\n"}
		want := exitDone
		if stopped {
			answers, want = answers[:1], exitFailed
		}
		for _, answer := range answers {
			if _, err := io.WriteString(person, answer); err != nil {
				t.Fatal(err)
			}
			for line := ""; !strings.Contains(line, "next words") && err == nil; {
				line, err = lines.ReadString('\n')
			}
		}
		if stopped {
			time.Sleep(50 * time.Millisecond) // until it waits for words
			stop()
		}
		rest, _ := io.ReadAll(lines)
		if got := <-code; got != want {
			t.Errorf("exit code %d: %s", got, rest)
		}
		after, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("the terminal was left changed: %v", err)
		}
		if err := unix.SetNonblock(int(person.Fd()), true); err != nil {
			t.Fatal(err)
		}
		shown := make([]byte, 1<<16)
		n, _ := unix.Read(int(person.Fd()), shown)
		if shown := bytes.TrimSpace(shown[:max(n, 0)]); len(shown) > 0 {
			t.Errorf("shown: %q", shown)
		}
	}
}
