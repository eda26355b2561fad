// Package notifytest has a mail server and a webhook's receiver for tests, on the
// loopback interface.
package notifytest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/mail"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// User and Password are what the mail server wants.
const (
	User     = "zeropass"
	Password = "the password of the mail server"
)

// Letter is one mail that the server took.
type Letter struct {
	From, To string // of the envelope
	TLS      bool
	User     string // that authenticated
	Message  *mail.Message
	Body     string // decoded by nobody
	Raw      string
}

// Mailbox is a mail server (RFC 5321) with STARTTLS or implicit TLS and AUTH
// PLAIN.
type Mailbox struct {
	Address string
	Roots   *x509.CertPool // trust its certificate

	t        *testing.T
	listener net.Listener
	config   *tls.Config
	implicit bool

	mu      sync.Mutex
	letters []Letter
	refuse  int // status instead of taking a mail, 0 to take it
	open    map[net.Conn]bool
	done    sync.WaitGroup
}

// NewMailbox starts a mail server, which ends with the test.
func NewMailbox(t *testing.T, implicit bool) *Mailbox {
	t.Helper()
	config, roots, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &Mailbox{
		Address: listener.Addr().String(), Roots: roots, t: t,
		listener: listener, config: config, implicit: implicit, open: map[net.Conn]bool{},
	}
	m.done.Go(m.accept)
	t.Cleanup(m.close)
	return m
}

// Letters returns what came so far.
func (m *Mailbox) Letters() []Letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Letter(nil), m.letters...)
}

// Refuse makes the server refuse mails with this status, 0 to take them again.
func (m *Mailbox) Refuse(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = status
}

func (m *Mailbox) close() {
	_ = m.listener.Close()
	m.mu.Lock()
	for c := range m.open {
		_ = c.Close()
	}
	m.mu.Unlock()
	m.done.Wait()
}

func (m *Mailbox) accept() {
	for {
		c, err := m.listener.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.open[c] = true
		m.mu.Unlock()
		m.done.Go(func() {
			defer func() {
				m.mu.Lock()
				delete(m.open, c)
				m.mu.Unlock()
				_ = c.Close()
			}()
			m.serve(c)
		})
	}
}

// session is one connection.
type session struct {
	conn   net.Conn
	text   *textproto.Conn
	letter Letter
}

func (s *session) over(c net.Conn) {
	s.conn, s.text = c, textproto.NewConn(c)
}

func (s *session) say(format string, args ...any) { _ = s.text.PrintfLine(format, args...) }

func (m *Mailbox) serve(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	s := &session{}
	s.over(c)
	if m.implicit {
		s.letter.TLS = true
		s.over(tls.Server(c, m.config))
	}
	s.say("220 mail.test ESMTP")
	for {
		line, err := s.text.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			s.say("250-mail.test")
			if !s.letter.TLS {
				s.say("250-STARTTLS")
			} else {
				s.say("250-AUTH PLAIN")
			}
			s.say("250 8BITMIME")
		case "STARTTLS":
			s.say("220 go on")
			s.letter.TLS = true
			s.over(tls.Server(c, m.config))
		case "AUTH":
			s.authenticate(rest)
		case "MAIL":
			s.letter.From = path(rest)
			s.say("250 ok")
		case "RCPT":
			s.letter.To = path(rest)
			s.say("250 ok")
		case "DATA":
			if err := m.take(s); err != nil {
				return
			}
		case "QUIT":
			s.say("221 bye")
			return
		case "NOOP", "RSET":
			s.say("250 ok")
		default:
			s.say("500 what")
		}
	}
}

func (s *session) authenticate(rest string) {
	method, coded, _ := strings.Cut(rest, " ")
	plain, err := base64.StdEncoding.DecodeString(coded)
	words := strings.Split(string(plain), "\x00")
	if method != "PLAIN" || err != nil || len(words) != 3 || words[1] != User || words[2] != Password || !s.letter.TLS {
		s.say("535 no")
		return
	}
	s.letter.User = words[1]
	s.say("235 ok")
}

func (m *Mailbox) take(s *session) error {
	s.say("354 go on")
	raw, err := s.text.ReadDotBytes()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != 0 {
		s.say("%d not now, %s", m.refuse, s.letter.To)
		return nil
	}
	letter := s.letter
	letter.Raw = string(raw)
	if letter.Message, err = mail.ReadMessage(bufio.NewReader(strings.NewReader(letter.Raw))); err != nil {
		m.t.Errorf("a mail that cannot be read: %v", err)
		return errors.New("unreadable")
	}
	body, err := io.ReadAll(letter.Message.Body)
	letter.Body = string(body)
	m.letters = append(m.letters, letter)
	s.say("250 taken")
	return err
}

// path is the address in MAIL FROM:<a> and RCPT TO:<a>.
func path(rest string) string {
	_, rest, _ = strings.Cut(rest, "<")
	address, _, _ := strings.Cut(rest, ">")
	return address
}

// certificate makes one for 127.0.0.1 that signs itself.
func certificate() (*tls.Config, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("notifytest: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, roots, nil
}
