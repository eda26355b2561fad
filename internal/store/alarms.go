package store

import (
	"context"
	"errors"
	"time"

	"zeropass.dev/zeropass/ledger"
)

// Bounds of what waits to be delivered for one account, by channel. One kind of
// alarm never takes the room of another: noise must not hide what matters.
const (
	// WaitingPerKind is how many alarms of a kind may wait.
	WaitingPerKind = 16
	// AlarmsPerHour is how many alarms of a kind are sent in an hour, where the
	// alarm does not say fewer.
	AlarmsPerHour = 10
)

// ErrUnknownDelivery: the delivery is not there any more, or was begun again.
var ErrUnknownDelivery = errors.New("store: no such delivery is under way")

// Alarm is what an owner is told apart from the devices. It goes to where the
// account's settings say, and nowhere without settings.
type Alarm struct {
	ID      string // the same for every attempt and channel
	Account ledger.AccountID
	Kind    string
	PerHour int    // fewer than AlarmsPerHour, or 0
	Body    []byte // JSON
	// Pause is how long after one alarm of this kind the next may leave, an hour at
	// most. What is raised meanwhile is counted, and leaves as one. 0 is none.
	Pause time.Duration
}

// Origin is the country that a request came from.
type Origin struct {
	Account ledger.AccountID
	Country string
	Learn   bool  // it is the account's own from now on
	Alarm   Alarm // raised if the account has others and not this one
}

// AlarmSettings is where an account's alarms go. The alarms that come with a
// change of it go to where the earlier settings say, and to where the new ones do.
type AlarmSettings struct {
	Mail    string // address, or empty
	Webhook string // URL, or empty
	Key     string // id of the key that encrypts the secret
	Secret  []byte // of the webhook, encrypted
}

// Channels of a delivery.
const (
	ChannelMail    = "mail"
	ChannelWebhook = "webhook"
)

// Place is where one account's alarms go by one channel. Alarms go there one after
// the other, so that a slow receiver holds up nobody but itself. Without an account it
// stands for everybody's.
type Place struct {
	Account ledger.AccountID
	Channel string
}

// Delivery is one alarm on its way to one place.
type Delivery struct {
	ID      uint64 // the store counts
	Attempt int    // 1 is the first
	Alarm   Alarm
	Channel string
	Target  string // address or URL
	Key     string // as in AlarmSettings
	Secret  []byte
	Created time.Time // when it was first due
	Times   int       // how many alarms of its kind it stands for, of which it is the first
}

// Place returns where the delivery goes.
func (d *Delivery) Place() Place { return Place{d.Alarm.Account, d.Channel} }

// Outbox keeps alarms until they are delivered: at least once each, by as many
// servers as there are.
type Outbox interface {
	// AlarmSettings returns empty settings where none were made, and how many
	// alarms wait to be delivered.
	AlarmSettings(ctx context.Context, id ledger.AccountID) (AlarmSettings, int, error)
	// Raise raises alarms about what changed nothing, a refusal for one.
	Raise(ctx context.Context, now time.Time, alarms ...Alarm) error
	// Begin takes deliveries that are due, at most so many, the oldest first: of each
	// place the oldest one, and none of places that are busy. What is neither ended
	// nor put off is due again after the lease.
	Begin(ctx context.Context, now time.Time, lease time.Duration, most int, busy ...Place) ([]Delivery, error)
	// End says that the delivery is done or given up; its body, address and secret
	// are destroyed. It returns ErrUnknownDelivery.
	End(ctx context.Context, d Delivery) error
	// PutOff makes a delivery due again at that time. It returns
	// ErrUnknownDelivery.
	PutOff(ctx context.Context, d Delivery, until time.Time) error
}
