package interchange

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// WriteText writes everything that the items hold as text for a person to read.
// The text is as secret as everything in it, and no program reads it back.
//
// Nothing in an item can forge a line or steer a terminal: a line that has
// anything but printable characters in it, or would not be seen whole, is quoted
// as Go and C do.
func WriteText(w io.Writer, items []Item) error {
	buffer := bufio.NewWriter(w)
	t := &textWriter{w: buffer}
	t.line("Secrets from ZeroPass, readable by everybody who sees this text.")
	t.line("Items: %d. A text in double quotes is written with escapes: \\n is a line", len(items))
	t.line("break, \\t a tab, \\\" a quote, \\\\ a backslash, \\u00a0 the character U+00A0.")
	for i, item := range items {
		t.line("")
		t.item(i+1, item)
	}
	if err := buffer.Flush(); err != nil {
		return fmt.Errorf("writing the text: %w", err)
	}
	return nil
}

type textWriter struct {
	w      *bufio.Writer
	indent string
}

// line writes one line. The buffer keeps the first error for Flush.
func (t *textWriter) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text != "" {
		text = t.indent + text
	}
	_, _ = t.w.WriteString(text + "\n")
}

// value writes a labelled value, a block if it has several lines, nothing if it
// is empty.
func (t *textWriter) value(label, value string) {
	switch {
	case value == "":
	case !strings.Contains(value, "\n"):
		t.line("%s: %s", label, visible(value))
	default:
		t.line("%s:", label)
		for line := range strings.SplitSeq(value, "\n") {
			t.line("  | %s", visible(line))
		}
	}
}

func visible(line string) string {
	printable := utf8.ValidString(line) && strings.TrimSpace(line) == line && !strings.HasPrefix(line, `"`)
	for _, r := range line {
		printable = printable && unicode.IsPrint(r)
	}
	if printable {
		return line
	}
	return strconv.Quote(line)
}

func (t *textWriter) item(row int, item Item) {
	m, s := item.Metadata, item.Secret
	t.indent = ""
	t.line("%d. %s", row, visible(m.GetTitle()))
	t.indent = "   "
	t.value("kind", kindName(m.GetKind()))
	t.value("folder", m.GetFolder())
	if m.GetFavorite() {
		t.line("favorite: yes")
	}
	t.value("user name", m.GetUserName())
	for _, uri := range m.GetUris() {
		t.value("address", uri.GetUri())
		t.value("  matching", uri.GetMatch())
	}
	t.kind(s)
	t.value("notes", s.GetNotes())
	for _, field := range s.GetFields() {
		t.field(field)
	}
	for _, past := range s.GetPasswordHistory() {
		t.value("past password", past.GetPassword())
		t.value("  last used", past.GetLastUsed())
	}
	t.time("created", m.GetCreated())
	t.time("revised", m.GetRevised())
	t.value("id where it was imported from", m.GetSourceId())
	t.value("what else was imported (JSON)", s.GetRest())
}

func kindName(kind recordv1.SlotMetadata_Kind) string {
	name := strings.TrimPrefix(kind.String(), "KIND_")
	return strings.ToLower(strings.ReplaceAll(name, "_", " "))
}

func (t *textWriter) time(label string, milliseconds int64) {
	if milliseconds != 0 {
		t.value(label, formatDate(milliseconds))
	}
}

func (t *textWriter) field(field *recordv1.Field) {
	name := "field " + visible(field.GetName())
	if value := field.GetValue(); value != "" {
		t.value(name, value)
	} else {
		t.line("%s:", name)
	}
	kind := strings.TrimPrefix(field.GetType().String(), "TYPE_")
	t.value("  type", strings.ToLower(kind))
	if field.GetLinked() != 0 {
		t.line("  linked to: Bitwarden's number %d", field.GetLinked())
	}
	t.value("  what else was imported (JSON)", field.GetRest())
}

func (t *textWriter) kind(s *recordv1.Secret) {
	switch k := s.GetKind().(type) {
	case *recordv1.Secret_Login:
		t.value("password", k.Login.GetPassword())
		t.value("one-time password key", k.Login.GetTotp())
		t.value("passkeys (JSON)", k.Login.GetFido2())
	case *recordv1.Secret_Card:
		t.value("holder", k.Card.GetHolder())
		t.value("brand", k.Card.GetBrand())
		t.value("number", k.Card.GetNumber())
		t.value("expiry month", k.Card.GetExpiryMonth())
		t.value("expiry year", k.Card.GetExpiryYear())
		t.value("security code", k.Card.GetCode())
	case *recordv1.Secret_Identity:
		t.identity(k.Identity)
	case *recordv1.Secret_SshKey:
		t.value("private key", k.SshKey.GetPrivateKey())
		t.value("public key", k.SshKey.GetPublicKey())
		t.value("fingerprint", k.SshKey.GetFingerprint())
	case *recordv1.Secret_HeldShare:
		t.value("held for", k.HeldShare.GetOwner())
		t.value("share (hexadecimal)", hex.EncodeToString(k.HeldShare.GetShare()))
		t.value("envelope (hexadecimal)", hex.EncodeToString(k.HeldShare.GetEnvelope()))
	}
}

func (t *textWriter) identity(i *recordv1.Identity) {
	t.value("title", i.GetTitle())
	t.value("first name", i.GetFirstName())
	t.value("middle name", i.GetMiddleName())
	t.value("last name", i.GetLastName())
	t.value("address 1", i.GetAddress1())
	t.value("address 2", i.GetAddress2())
	t.value("address 3", i.GetAddress3())
	t.value("city", i.GetCity())
	t.value("state", i.GetState())
	t.value("postal code", i.GetPostalCode())
	t.value("country", i.GetCountry())
	t.value("company", i.GetCompany())
	t.value("email", i.GetEmail())
	t.value("phone", i.GetPhone())
	t.value("social security number", i.GetSsn())
	t.value("user name", i.GetUserName())
	t.value("passport number", i.GetPassportNumber())
	t.value("license number", i.GetLicenseNumber())
}
