package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// followKeys looks at the key file again on SIGHUP, and says in the log what became
// of that, until the returned function is called. The signal alone would end the
// program.
func (d *data) followKeys(log *slog.Logger) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range hangup {
			if err := d.keys.Follow(); err != nil {
				log.Error("the key file cannot be taken up; the keys that were read before go on", "error", err)
				continue
			}
			log.Info("looked at the key file", "encryption_keys", d.keys.EncryptionKeys())
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(hangup)
		<-done
	}
}
