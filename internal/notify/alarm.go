// Package notify carries a server's alarms to people, by mail and by webhook.
//
// An [Alarm] says what happened, and nothing that is secret: the server knows no
// titles. [Mail] and [Webhook] each deliver one, and say by an [Error] how it
// failed, which names neither addresses nor what the other side said. Keeping
// alarms until they are delivered is the caller's.
package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Kind is what an alarm is about. Kinds are append-only; they are what a webhook
// reads.
type Kind string

// Kinds of alarms.
const (
	RevealBulk          Kind = "reveal.bulk"
	RevealLimit         Kind = "reveal.limit"
	ConfirmationWrong   Kind = "confirmation.wrong"
	ConfirmationRefused Kind = "confirmation.refused"
	DeviceAsks          Kind = "device.asks"
	DeviceAdded         Kind = "device.added"
	DeviceLocked        Kind = "device.locked"
	DeviceUnlocked      Kind = "device.unlocked"
	DeviceRevoked       Kind = "device.revoked"
	RecoveryRequested   Kind = "recovery.requested"
	RecoveryApproved    Kind = "recovery.approved"
	RecoveryVetoed      Kind = "recovery.vetoed"
	RecoveryReleased    Kind = "recovery.released"
	RecoveryDone        Kind = "recovery.done"
	PolicyChanged       Kind = "policy.changed"
	EpochPrepared       Kind = "epoch.prepared"
	EpochCommitted      Kind = "epoch.committed"
	ContactBound        Kind = "contact.bound"
	ServerKeyChanged    Kind = "server.key_changed"
	OriginNew           Kind = "origin.new"
	AlarmsChanged       Kind = "alarms.changed"
	AlarmsTest          Kind = "alarms.test"
)

// Alarm is what one alarm says.
type Alarm struct {
	ID   string
	Kind Kind
	Time time.Time
	Data Data
}

// Data is what a webhook gets of an alarm, besides kind and time.
type Data struct {
	Account  string `json:"account"` // hexadecimal
	Name     string `json:"name"`    // of the account
	Text     string `json:"text"`
	Do       string `json:"do"`
	Device   uint64 `json:"device,omitempty"`  // that asked
	Subject  uint64 `json:"subject,omitempty"` // device that it is about
	Count    int    `json:"count,omitempty"`   // of secrets in a bulk reveal
	Sequence uint64 `json:"entry,omitempty"`   // of the ledger
	Address  string `json:"address,omitempty"` // that the request came from, if it is known
	Country  string `json:"country,omitempty"` // ISO 3166-1
	Times    int    `json:"times,omitempty"`   // how many alarms it stands for, of which it is the first
}

type payload struct {
	Type      Kind      `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      Data      `json:"data"`
}

// JSON returns what a webhook gets. It fills Text and Do in.
func (a *Alarm) JSON() []byte {
	said := words[a.Kind]
	a.Data.Text = strings.NewReplacer(
		"{device}", who(a.Data.Device),
		"{subject}", who(a.Data.Subject),
		"{count}", fmt.Sprint(a.Data.Count),
		"{country}", a.Data.Country,
	).Replace(said.text)
	if a.Data.Times > 1 {
		a.Data.Text += fmt.Sprintf(" This happened %d times in a short time; what is said here is about the first.", a.Data.Times)
	}
	a.Data.Do = said.do
	if a.Kind == OriginNew && a.Data.Device == 0 {
		a.Data.Do = doVeto // all that a device outside of the account asks for
	}
	b, err := json.Marshal(payload{Type: a.Kind, Timestamp: a.Time.UTC(), Data: a.Data})
	if err != nil {
		panic("notify: " + err.Error()) // strings, numbers and a time of this millennium
	}
	return b
}

// ParseAlarm reads what [Alarm.JSON] wrote.
func ParseAlarm(id string, b []byte) (*Alarm, error) {
	var p payload
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("notify: an alarm cannot be read: %w", err)
	}
	return &Alarm{ID: id, Kind: p.Type, Time: p.Timestamp, Data: p.Data}, nil
}

func who(device uint64) string {
	if device == 0 {
		return "a device that is not in the account"
	}
	return fmt.Sprintf("device %d", device)
}

const (
	doLock = "If it was not you or somebody you trust: lock that device from another one with: zeropass device lock N --yes"
	doVeto = "If it was not you: veto from any of your devices with: zeropass veto. Do not approve anything that you did not begin yourself."
	doLook = "Look at it on one of your devices with: zeropass activity"
)

// words are what an alarm says and what to do about it.
var words = map[Kind]struct{ text, do string }{
	RevealBulk:          {"{device} revealed {count} secrets at once.", doLock},
	RevealLimit:         {"{device} asked for more secrets than the account's limits allow, and was refused.", doLock},
	ConfirmationWrong:   {"{device} sent a confirmation that is wrong, and was refused.", doLock},
	ConfirmationRefused: {"{subject} refused what {device} asked for.", doLock},
	DeviceAsks:          {"A new device asks to be added to the account.", "If it is not yours: do not approve it. Nothing happens without your devices."},
	DeviceAdded:         {"{subject} was added to the account.", doLock},
	DeviceLocked:        {"{device} locked {subject}.", "If it was not you: unlock it from another device with: zeropass device unlock N, and lock the one that did it."},
	DeviceUnlocked:      {"{device} unlocked {subject}.", doLock},
	DeviceRevoked:       {"{device} revoked {subject}.", doLock},
	RecoveryRequested:   {"A new device asked to recover the account. When enough contacts approve and the waiting period is over, it gets everything.", doVeto},
	RecoveryApproved:    {"A contact approved the recovery of the account.", doVeto},
	RecoveryVetoed:      {"{device} vetoed the recovery of the account.", doLook},
	RecoveryReleased:    {"The server has given its shares to the device that recovers the account.", doVeto},
	RecoveryDone:        {"{subject} has recovered the account. All earlier devices are revoked.", "If it was not you: tell your contacts, and change the passwords that you kept."},
	PolicyChanged:       {"{device} changed the account's limits. What is weaker counts after the waiting period.", doLock},
	EpochPrepared:       {"{device} prepared a new epoch.", doLock},
	EpochCommitted:      {"{device} committed a new epoch. It is in use from now on.", doLock},
	ContactBound:        {"{device} chose a contact who holds a share of the backup key.", doLock},
	ServerKeyChanged:    {"{device} accepted new keys of the server.", "If whoever runs the server has not told you of it: lock that device and ask them."},
	OriginNew:           {"{device} asked from {country}, a country that nothing of this account came from before.", doLock},
	AlarmsChanged:       {"{device} changed where alarms go.", "If it was not you: lock that device from another one with: zeropass device lock N --yes, and set the alarms anew with: zeropass alarms set"},
	AlarmsTest:          {"{device} asked for a test of the alarms. They arrive.", "There is nothing to do."},
}

// Text returns the alarm for a person: a subject of one line and a body.
func (a *Alarm) Text() (subject, body string) {
	text := capital(a.Data.Text)
	subject = "ZeroPass: " + strings.TrimSuffix(first(text), ".")
	if a.Data.Times > 1 {
		subject += fmt.Sprintf(", %d times", a.Data.Times)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", text)
	fmt.Fprintf(&b, "Account:  %s (%.16s)\n", a.Data.Name, a.Data.Account)
	fmt.Fprintf(&b, "When:     %s\n", a.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	if a.Data.Device != 0 {
		fmt.Fprintf(&b, "Device:   %d\n", a.Data.Device)
	}
	if a.Data.Address != "" {
		fmt.Fprintf(&b, "Network:  %s", a.Data.Address)
		if a.Data.Country != "" {
			fmt.Fprintf(&b, " (%s)", a.Data.Country)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n%s\n", a.Data.Do)
	b.WriteString("\nThis mail asks for no password and has no link. It comes from the server, which\ncan also fail to send one: your devices keep the whole record.\n")
	return subject, b.String()
}

func first(text string) string {
	sentence, _, _ := strings.Cut(text, ". ")
	return sentence
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
