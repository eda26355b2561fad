package device

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// Code says what kind of failure an [Error] is. Its values are the exit codes of
// the command line.
type Code int

// The kinds of failure.
const (
	CodeFailed      Code = 1  // something failed on this device
	CodeUsage       Code = 2  // asked in a way that cannot be done
	CodePassphrase  Code = 3  // a passphrase is wrong
	CodeUnreachable Code = 4  // the server cannot be reached
	CodeRefused     Code = 5  // the server refused
	CodeDishonest   Code = 6  // the server does not keep to the protocol, or shows a fork
	CodeNotYet      Code = 7  // not recoverable, or waiting: the answer is "not yet"
	CodeNotFound    Code = 8  // there is no such slot, contact or request
	CodeNewer       Code = 9  // a newer program is needed
	CodeHome        Code = 10 // the directory is busy, missing, or not what it should be
)

// Error is what a person is told: what happened, and what to do next.
type Error struct {
	Code    Code
	Message string // what happened, and to what
	Hint    string // what to do next; may be empty
	Err     error  // the cause, for errors.Is and logs; may be nil
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Causes that callers tell apart with errors.Is, beside those of packages home,
// api, client, ledger and recovery.
var (
	ErrFork          = errors.New("device: there are two histories of the account")
	ErrWithheld      = errors.New("device: the server withholds entries that another device proved")
	ErrRevoked       = errors.New("device: this device no longer belongs to the account")
	ErrJoining       = errors.New("device: this directory waits to be added to an account")
	ErrRecovering    = errors.New("device: this directory waits for a recovery")
	ErrNotRecovering = errors.New("device: no recovery was started here")
	ErrPhrase        = errors.New("device: the safety phrases differ")
	ErrMissingHead   = errors.New("device: the ledger lacks a head that a contact proves")
	ErrBefore        = errors.New("device: the directory belongs to something else")
	ErrInvitation    = errors.New("device: not a usable invitation")
	ErrUnconfirmed   = errors.New("device: no other device confirmed it")
	ErrStale         = errors.New("device: what was confirmed is about something that has changed")
)

// failure makes an [Error] of its own code.
func failure(code Code, cause error, hint, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint, Err: cause}
}

// explain turns any error into an [Error]; doing says what was tried, as in
// "store the secret". An Error stays as it is.
func explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	var told *Error
	if errors.As(err, &told) {
		return told
	}
	return &Error{Code: codeOf(err), Message: fmt.Sprintf("could not %s: %v", doing, err), Hint: hintOf(err), Err: err}
}

func codeOf(err error) Code {
	var refusal *api.Refusal
	switch {
	case errors.Is(err, home.ErrPassphrase):
		return CodePassphrase
	case errors.Is(err, home.ErrBusy), errors.Is(err, home.ErrMissing):
		return CodeHome
	case errors.Is(err, ledger.ErrNewer), errors.Is(err, api.ErrNeedsNewerProgram):
		return CodeNewer
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
		return CodeUnreachable
	case errors.Is(err, client.ErrDishonest), errors.Is(err, ErrFork), errors.Is(err, ErrWithheld):
		return CodeDishonest
	case errors.Is(err, api.ErrPeriodNotOver), errors.Is(err, api.ErrNotEnoughApprovals), errors.Is(err, api.ErrVetoed),
		errors.Is(err, api.ErrNotRecoverable):
		return CodeNotYet
	case errors.Is(err, api.ErrUnknownSlot), errors.Is(err, api.ErrUnknownRecovery), errors.Is(err, api.ErrUnknownAccount):
		return CodeNotFound
	case errors.As(err, &refusal), errors.Is(err, errFull):
		return CodeRefused
	}
	return CodeFailed
}

// errFull is the ledger's refusal of a secret that a recovery could not bring back
// with the others.
var errFull = &ledger.RuleError{Rule: ledger.RuleCapacity}

// hints says what to do next about causes that need no circumstances.
var hints = []struct {
	cause error
	hint  string
}{
	{home.ErrPassphrase, "type the passphrase again; it is the one of this device's directory"},
	{home.ErrBusy, "another zeropass works in this directory; wait for it or stop it"},
	{home.ErrMissing, "name the directory with --home, or make one with zeropass init"},
	{home.ErrLocked, "what was done before stands; run zeropass unlock, or type the passphrase, and run the command again"},
	{ledger.ErrNewer, "install a newer zeropass"},
	{api.ErrNeedsNewerProgram, "install a newer zeropass"},
	{client.ErrUnreachable, "check the network and that the server runs, then run the command again"},
	{client.ErrDishonest, "do not type secrets into anything from this server; ask whoever runs it, and keep this directory as it is"},
	{api.ErrClock, "set this machine's clock"},
	{api.ErrReplayed, "the server had answered, and the answer was lost on its way; run the command again"},
	{api.ErrNameTaken, "choose another name"},
	{api.ErrRegistrationClosed, "ask whoever runs the server for a token, and run the command again with --registration-token-file"},
	{api.ErrPeriodNotOver, "wait until the period is over, then run the command again"},
	{api.ErrNotEnoughApprovals, "ask more of your contacts to approve, then run the command again"},
	{api.ErrVetoed, "one of the account's devices vetoed the recovery; if it is not in your hands, ask your contacts to approve again"},
	{api.ErrRateLimited, "wait, then run the command again; look at zeropass activity if this was not you"},
	{api.ErrDeviceRevoked, "this device no longer belongs to the account; use the one that recovered it"},
	{api.ErrDeviceLocked, "unlock this device from another one"},
	{errFull, "it stays on this device alone; delete secrets that are not needed any more, then run zeropass sync"},
	{api.ErrAccountLocked, "ask whoever runs the server why; nothing was deleted, and what this device has stays on it"},
	{api.ErrAccountDeleted, "ask whoever runs the server; with this device's directory and a quorum of contacts zeropass-recover brings your secrets back without it"},
	{api.ErrMoved, "run the command again; if that does not help, ask whoever runs the server for its address, and run zeropass server move ADDRESS"},
	{api.ErrUnavailable, "run the command again in a while"},
	{syscall.ENOSPC, "make room on the disk, then run the command again: nothing is lost"},
	{home.ErrWrite, "see that this directory can be written, then run the command again"},
}

func hintOf(err error) string {
	for _, h := range hints {
		if errors.Is(err, h.cause) {
			return h.hint
		}
	}
	return ""
}
