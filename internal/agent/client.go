package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Client asks the agent of a home. It is a [home.KeyHolder]. Its methods may be
// called from several goroutines.
type Client struct {
	mu   sync.Mutex
	conn *net.UnixConn
}

// Dial connects to the agent of the home in dir. It returns ErrNotRunning, or
// ErrPeer for a socket that is not this user's.
func Dial(dir string) (*Client, error) {
	name, err := socketName(dir)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name + ".sock", Net: "unix"})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTDIR) {
		return nil, ErrNotRunning // of a socket that a crash left nobody listens
	}
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := checkPeer(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &Client{conn: conn}, nil
}

// ask sends a request and returns the parts of its answer. What ends the
// connection is [home.ErrLocked]: the agent locks by ending.
func (c *Client) ask(code byte, want int, parts ...[]byte) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := send(c.conn, frame{version, code, parts})
	var b []byte
	if err == nil {
		b, err = receive(c.conn)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the agent has locked this device", home.ErrLocked)
	}
	answer, err := parseFrame(b)
	if err != nil {
		return nil, err
	}
	if answer.version != version || answer.code == otherVersion {
		return nil, ErrVersion
	}
	if answer.code != done && len(answer.parts) == 1 {
		return nil, answerError(answer.code, string(answer.parts[0]))
	}
	if answer.code != done || len(answer.parts) != want {
		return nil, errFrame
	}
	return answer.parts, nil
}

func answerError(code byte, text string) error {
	switch code {
	case notOpened:
		return hpke.ErrOpen
	case otherHome:
		return ErrOtherHome
	case notifying:
		return ErrNotifying
	}
	return fmt.Errorf("%w: %s", ErrRefused, strings.TrimPrefix(text, ErrRefused.Error()+": "))
}

func (c *Client) one(code byte, parts ...[]byte) ([]byte, error) {
	answer, err := c.ask(code, 1, parts...)
	if err != nil {
		return nil, err
	}
	return answer[0], nil
}

// Keys returns the device's keys, which stay with the agent.
func (c *Client) Keys() (*home.Keys, error) {
	parts, err := c.ask(opKeys, 4)
	if err != nil {
		return nil, err
	}
	sign, err := signing.NewPublicKey(parts[0])
	if err != nil {
		return nil, err
	}
	seal, err := hpke.NewPublicKey(parts[1])
	if err != nil {
		return nil, err
	}
	keys := &home.Keys{Sign: signer{c, sign}, Seal: opener{c, seal}}
	if n := len(parts[2]); n != 0 && n != len(keys.Account) || len(parts[3]) != 8 {
		return nil, errFrame
	}
	copy(keys.Account[:], parts[2])
	keys.Device = readNumber(parts[3])
	return keys, nil
}

// signer is the device's sign key.
type signer struct {
	c      *Client
	public *signing.PublicKey
}

func (s signer) PublicKey() *signing.PublicKey { return s.public }

func (s signer) SignContext(context *signing.Context) ([]byte, error) {
	return s.c.one(opSign, context.Encode())
}

// opener is the device's seal key.
type opener struct {
	c      *Client
	public *hpke.PublicKey
}

func (o opener) PublicKey() *hpke.PublicKey { return o.public }

func (o opener) Open(info, aad, sealed []byte) ([]byte, error) {
	if len(aad) > 0 {
		return nil, fmt.Errorf("%w: what is sealed to devices has no associated data", ErrRefused)
	}
	return o.c.one(opOpen, info, sealed)
}

// SealKeys returns the file "keys" with another account and device number.
func (c *Client) SealKeys(account ledger.AccountID, device uint64) ([]byte, error) {
	return c.one(opSealKeys, account[:], number(device))
}

// SealFile seals what goes into the file at a path within the home.
func (c *Client) SealFile(path string, plaintext []byte) ([]byte, error) {
	return c.one(opSealFile, []byte(path), plaintext)
}

// OpenFile opens what stands in the file at a path within the home.
func (c *Client) OpenFile(path string, sealed []byte) ([]byte, error) {
	b, err := c.one(opOpenFile, []byte(path), sealed)
	if errors.Is(err, hpke.ErrOpen) {
		return nil, &home.DamageError{File: path, Reason: "it does not open with this home's passphrase"}
	}
	return b, err
}

// Background tells the agent that nobody sits at what asks on this connection: it
// does not put off the end.
func (c *Client) Background() error {
	_, err := c.ask(opBackground, 0, number(0))
	return err
}

// Notifier is Background for the process that shows desktop notifications. The
// agent names it in its status while the connection is open. It returns
// ErrNotifying if there is one. The channel is closed when the agent has locked;
// nothing else can be asked on this connection.
func (c *Client) Notifier(process int) (<-chan struct{}, error) {
	if _, err := c.ask(opBackground, 0, number(uint64(process))); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.conn.Read(make([]byte, 1)) // the agent says nothing unasked
	}()
	return ended, nil
}

// Erase ends the connection. The agent keeps its secret.
func (c *Client) Erase() { _ = c.conn.Close() }

// Lock makes the agent erase its secret, waits until it has, and ends it. It works
// with an agent of any version.
func (c *Client) Lock() error {
	_, err := c.ask(opLock, 0)
	if errors.Is(err, home.ErrLocked) || errors.Is(err, ErrVersion) {
		return nil // it was ending already, or has another form of saying that it is done
	}
	return err
}

// Status is how an agent stands.
type Status struct {
	Until        time.Time     // when it locks if nothing is asked of it
	Idle         time.Duration // after how long that is
	Process      int
	MemoryLocked bool // the system lets it keep the secret out of swap
	Notifier     int  // the process that shows desktop notifications; 0 for none
}

// Status asks how the agent stands, which does not count as use.
func (c *Client) Status() (*Status, error) {
	parts, err := c.ask(opStatus, 5)
	if err != nil {
		return nil, err
	}
	if len(parts[0]) != 8 || len(parts[1]) != 8 || len(parts[2]) != 8 || len(parts[3]) != 1 || len(parts[4]) != 8 {
		return nil, errFrame
	}
	return &Status{
		Until:        time.UnixMilli(int64(readNumber(parts[0]))),
		Idle:         time.Duration(readNumber(parts[1])) * time.Millisecond,
		Process:      int(readNumber(parts[2])),
		MemoryLocked: parts[3][0] == 1,
		Notifier:     int(readNumber(parts[4])),
	}, nil
}

func readNumber(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
