package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// Error is how a delivery failed. It names no address, and repeats nothing that
// the other side said, so it can be logged.
type Error struct {
	Step string // that failed
	Code int    // status of HTTP or SMTP, 0 if there was none
	Gone bool   // the receiver wants nothing any more
}

// Error returns the step and the code.
func (e *Error) Error() string {
	if e.Code != 0 {
		return fmt.Sprintf("notify: %s: status %d", e.Step, e.Code)
	}
	return "notify: " + e.Step
}

// Ways to protect the connection to a mail server.
const (
	StartTLS    = "starttls"
	ImplicitTLS = "implicit"
	NoTLS       = "none" // this machine alone
)

const (
	maxMail     = 254 // RFC 5321 section 4.5.3.1, less the brackets
	mailTimeout = 20 * time.Second
)

// ErrMail: not an address for mail, or not the settings of a mail server.
var ErrMail = errors.New("mail cannot be sent there")

// CheckMail returns an error that wraps [ErrMail] unless it is a bare address.
func CheckMail(address string) error {
	parsed, err := netmail.ParseAddress(address)
	if err != nil || parsed.Address != address || parsed.Name != "" || len(address) > maxMail {
		return fmt.Errorf("%w: an address looks like ada@example.org", ErrMail)
	}
	return nil
}

// Mail sends alarms through one mail server.
type Mail struct {
	Server   string // host and port
	TLS      string // StartTLS, ImplicitTLS or NoTLS
	From     string
	User     string // empty to send without authentication
	Password string
	Config   *tls.Config // nil for the system's roots
}

// Check returns an error that wraps [ErrMail] if the settings do not fit together.
func (m *Mail) Check() error {
	host, port, err := net.SplitHostPort(m.Server)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" {
		return fmt.Errorf("%w: a mail server looks like smtp.example.org:587", ErrMail)
	}
	if err := CheckMail(m.From); err != nil {
		return err
	}
	switch m.TLS {
	case StartTLS, ImplicitTLS:
	case NoTLS:
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			return fmt.Errorf("%w: without TLS the mail server is on this machine", ErrMail)
		}
	default:
		return fmt.Errorf("%w: TLS is %s, %s or %s", ErrMail, StartTLS, ImplicitTLS, NoTLS)
	}
	if (m.User == "") != (m.Password == "") {
		return fmt.Errorf("%w: a user name and its password belong together", ErrMail)
	}
	return nil
}

// Send delivers an alarm to one address. Its error is an *[Error].
func (m *Mail) Send(ctx context.Context, to string, a *Alarm) error {
	message, err := m.message(to, a)
	if err != nil {
		return &Error{Step: "address"}
	}
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	client, err := m.client(ctx)
	if err != nil {
		return &Error{Step: "mail server's settings"}
	}
	if err := client.DialAndSendWithContext(ctx, message); err != nil {
		failed := &Error{Step: "mail server"}
		var sending *mail.SendError
		if errors.As(err, &sending) {
			failed.Step, failed.Code = "mail server's answer", sending.ErrorCode()
		}
		return failed
	}
	return nil
}

func (m *Mail) message(to string, a *Alarm) (*mail.Msg, error) {
	message := mail.NewMsg(mail.WithEncoding(mail.EncodingQP), mail.WithNoDefaultUserAgent())
	if err := errors.Join(message.FromFormat("ZeroPass", m.From), message.To(to)); err != nil {
		return nil, err
	}
	subject, body := a.Text()
	message.Subject(subject)
	message.SetDateWithValue(a.Time)
	_, domain, _ := strings.Cut(m.From, "@")
	message.SetMessageIDWithValue(a.ID + "@" + domain)       // the same at every attempt
	message.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 section 5
	message.SetBodyString(mail.TypeTextPlain, body)
	return message, nil
}

// client makes a client for one mail. Where it can, it ends with ctx; go-mail looks
// at ctx only until it is connected, and goes by its timeout then.
func (m *Mail) client(ctx context.Context) (*mail.Client, error) {
	host, port, err := net.SplitHostPort(m.Server)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	config := m.Config.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	config.ServerName, config.MinVersion = host, tls.VersionTLS12
	options := []mail.Option{mail.WithPort(int(number)), mail.WithTimeout(mailTimeout), mail.WithTLSConfig(config)}
	switch m.TLS {
	case ImplicitTLS:
		options = append(options, mail.WithSSL())
	case NoTLS:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if m.TLS != ImplicitTLS { // go-mail knows only of its own TLS that it is there
		options = append(options, mail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(dialing, network, address)
			if err == nil {
				context.AfterFunc(ctx, func() { _ = c.Close() })
			}
			return c, err
		}))
	}
	if m.User != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(m.User), mail.WithPassword(m.Password))
	}
	return mail.NewClient(host, options...)
}
