package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// secret is a setting that nobody else sees. It comes from the environment, from
// the settings file, from a file of its own, or from systemd's credential of its
// name; never from the command line.
type secret struct {
	name, what string
	value      secretValue
	file       string
}

// secretValue is a secret as a flag, which says nothing of it.
type secretValue struct{ text string }

func (v *secretValue) Set(text string) error { v.text = text; return nil }
func (v *secretValue) Type() string          { return "string" }
func (v *secretValue) GoString() string      { return v.String() }
func (v *secretValue) String() string {
	if v == nil || v.text == "" {
		return ""
	}
	return "[secret]"
}

func isSecret(f *pflag.Flag) bool {
	if f == nil {
		return false
	}
	_, ok := f.Value.(*secretValue)
	return ok
}

// add adds the flag for the file, and the setting itself, which help does not
// show.
func (s *secret) add(flags *pflag.FlagSet, name, what, otherwise string) {
	s.name, s.what = name, what
	flags.Var(&s.value, name, what)
	flags.Lookup(name).Hidden = true
	flags.StringVar(&s.file, name+"-file", "", "file with "+what+"; without it systemd's credential "+name+otherwise)
}

// read returns the secret, nothing where there is none.
func (s *secret) read() (string, error) {
	if s.value.text != "" {
		return s.value.text, nil
	}
	file := s.path()
	if file == "" {
		return "", nil
	}
	return readPassword(file, s.what)
}

// path returns the file that was named, else systemd's credential, else nothing.
func (s *secret) path() string {
	if s.file != "" {
		return s.file
	}
	return credentialFile(s.name)
}

// credentialsVariable has the directory in which systemd puts a service's
// credentials, systemd.exec(5).
const credentialsVariable = "CREDENTIALS_DIRECTORY"

// credentialFile returns the file of a credential, nothing where there is none.
func credentialFile(name string) string {
	directory := os.Getenv(credentialsVariable)
	if directory == "" {
		return ""
	}
	file := filepath.Join(directory, name)
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// isCredential says whether a file lies where systemd puts credentials.
func isCredential(file string) bool {
	directory := os.Getenv(credentialsVariable)
	return directory != "" && filepath.Dir(filepath.Clean(file)) == filepath.Clean(directory)
}

// maxPassword is how much of a password file is read.
const maxPassword = 4 << 10

func readPassword(file, what string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fail(exitFailed, "Name a file that the server can read.", "%s: %v", what, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxPassword))
	if err != nil {
		return "", fail(exitFailed, "Name a file that the server can read.", "%s: %v", what, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
