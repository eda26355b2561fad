package agent

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/memory"
	"zeropass.dev/zeropass/signing"
)

// signed are the kinds of contexts that a device signs.
var signed = map[string]bool{
	"api-request": true, "attestation": true, "confirmation": true, "device-request": true, "entry": true,
	"proposal": true, "recovery-request": true, "share-envelope": true,
}

// sealed are the kinds of contexts of what is sealed to a device.
var sealed = map[string]bool{
	"contact-half": true, "device-share-key": true, "metadata-key": true, "recovery-share": true, "release": true,
	"reveal": true, "seed-half": true, "seed-share": true,
}

// connection is what a program has said of itself on its connection.
type connection struct {
	background bool // what it asks does not put off the end
	process    int  // of the notifier
}

// answerAll answers on a connection until it ends.
func (a *Agent) answerAll(conn *net.UnixConn) {
	c := &connection{}
	defer a.forgetNotifier(c)
	for {
		b, err := receive(conn)
		if err != nil {
			return
		}
		answer := a.answer(c, b)
		clear(b)
		err = send(conn, answer)
		for _, p := range answer.parts {
			clear(p)
		}
		if err != nil {
			return
		}
	}
}

func (a *Agent) answer(c *connection, b []byte) frame {
	request, err := parseFrame(b)
	if err == nil && request.code != opLock && request.version != version {
		return frame{version, otherVersion, [][]byte{[]byte(ErrVersion.Error())}}
	}
	var parts [][]byte
	if err == nil {
		parts, err = a.do(c, request)
	}
	if err == nil {
		return frame{version, done, parts}
	}
	code := refused
	switch {
	case errors.Is(err, ErrOtherHome):
		code = otherHome
	case errors.Is(err, ErrNotifying):
		code = notifying
	case errors.Is(err, hpke.ErrOpen), errors.Is(err, home.ErrDamaged):
		code = notOpened
	}
	return frame{version, code, [][]byte{[]byte(err.Error())}}
}

// shape is how many parts each operation takes.
var shape = map[byte]int{opKeys: 0, opSign: 1, opOpen: 2, opSealFile: 2, opOpenFile: 2, opSealKeys: 2, opLock: 0, opStatus: 0, opBackground: 1}

func (a *Agent) do(c *connection, request frame) ([][]byte, error) {
	n, ok := shape[request.code]
	if !ok || n != len(request.parts) {
		return nil, errFrame
	}
	switch request.code {
	case opLock:
		a.Lock()
		memory.Scrub()
		return nil, nil
	case opStatus:
		return a.status()
	case opBackground:
		return nil, a.setBackground(c, request.parts[0])
	}
	if err := checkRequest(request); err != nil {
		return nil, err
	}
	var parts [][]byte
	err := a.with(func(keys *home.SecretKeys) (err error) {
		parts, err = perform(keys, request)
		return err
	})
	if !c.background {
		a.putOff()
	}
	return parts, err
}

// checkRequest refuses what no device ever needs, before any key is touched.
func checkRequest(request frame) error {
	parts := request.parts
	switch request.code {
	case opSign:
		if c, err := signing.ParseContext(parts[0]); err != nil || !signed[c.Kind()] {
			return fmt.Errorf("%w: to sign something that no device signs", ErrRefused)
		}
	case opOpen:
		if c, err := signing.ParseContext(parts[0]); err != nil || !sealed[c.Kind()] {
			return fmt.Errorf("%w: to open something that is not sealed to devices", ErrRefused)
		}
	case opSealFile, opOpenFile:
		if path := string(parts[0]); !mayTouch(path, request.code == opSealFile) {
			return fmt.Errorf("%w: the file %q", ErrRefused, path)
		}
	case opSealKeys:
		if len(parts[0]) != len(ledger.AccountID{}) || len(parts[1]) != 8 {
			return errFrame
		}
	}
	return nil
}

// mayTouch says whether a file of the home is for commands to read, or to write.
// "keys" never is: it has the private keys.
func mayTouch(path string, write bool) bool {
	return path == "held" || path == "confirm-key" && !write ||
		strings.HasPrefix(path, "private/") || strings.HasPrefix(path, "pending/s-")
}

// perform does what takes keys.
func perform(keys *home.SecretKeys, request frame) ([][]byte, error) {
	one := func(b []byte, err error) ([][]byte, error) { return [][]byte{b}, err }
	own, err := keys.Keys()
	if err != nil {
		return nil, err
	}
	parts := request.parts
	switch request.code {
	case opKeys:
		var account []byte
		if own.Account != (ledger.AccountID{}) {
			account = own.Account[:]
		}
		return [][]byte{own.Sign.PublicKey().Bytes(), own.Seal.PublicKey().Bytes(), account, number(own.Device)}, nil
	case opSign:
		c, err := signing.ParseContext(parts[0])
		if err != nil {
			return nil, err
		}
		return one(own.Sign.SignContext(c))
	case opOpen:
		return one(own.Seal.Open(parts[0], nil, parts[1]))
	case opSealFile:
		return one(keys.SealFile(string(parts[0]), parts[1]))
	case opOpenFile:
		return one(keys.OpenFile(string(parts[0]), parts[1]))
	}
	return one(keys.SealKeys(ledger.AccountID(parts[0]), readNumber(parts[1])))
}

// status does not count as use.
func (a *Agent) status() ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.page == nil {
		return nil, home.ErrLocked
	}
	inMemory := []byte{0}
	if a.page.Locked() {
		inMemory[0] = 1
	}
	var notifier uint64
	if a.notifier != nil {
		notifier = uint64(a.notifier.process)
	}
	return [][]byte{number(uint64(a.until.UnixMilli())), number(uint64(a.idle.Milliseconds())), number(uint64(os.Getpid())), inMemory, number(notifier)}, nil
}

// setBackground takes what asks on a connection for something that nobody sits at.
// It can only bring the end nearer, so that whoever says it is believed.
func (a *Agent) setBackground(c *connection, process []byte) error {
	if len(process) != 8 || readNumber(process) > math.MaxInt32 {
		return errFrame
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := int(readNumber(process)); n != 0 {
		if a.notifier != nil && a.notifier != c {
			return ErrNotifying
		}
		a.notifier, c.process = c, n
	}
	c.background = true
	return nil
}

func (a *Agent) forgetNotifier(c *connection) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.notifier == c {
		a.notifier = nil
	}
}
