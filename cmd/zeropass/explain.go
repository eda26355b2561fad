package main

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/internal/device"
)

// explainDevice turns the errors of the packages below into what the command
// line prints; nil when err is none of theirs.
func explainDevice(err error) *failure {
	if e, ok := errors.AsType[*device.Error](err); ok {
		return &failure{exitCode(e.Code), e.Message, sentence(e.Hint)}
	}
	if e, ok := errors.AsType[*interchange.Error](err); ok {
		bare := *e
		bare.Hint = ""
		return &failure{exitFailed, bare.Error(), sentence(e.Hint)}
	}
	switch {
	case errors.Is(err, home.ErrMissing):
		return &failure{exitHome, "there is no account here", "Make an account with zeropass init, or name another directory with --home."}
	case errors.Is(err, home.ErrBusy):
		return &failure{exitHome, "another zeropass is working in this directory", "Wait until it has ended, or end it."}
	case errors.Is(err, home.ErrDamaged):
		return &failure{exitHome, err.Error(), sentence(device.HintDamaged)}
	case errors.Is(err, home.ErrPermissions):
		return &failure{exitHome, err.Error(), ""}
	}
	return nil
}

// sentence writes a hint the way all hints are written.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	if !strings.HasPrefix(s, "zeropass ") {
		s = sentenceStart(s)
	}
	if last, _ := utf8.DecodeLastRuneInString(s); last != '.' && last != '?' && last != '!' {
		s += "."
	}
	return s
}

func sentenceStart(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}
