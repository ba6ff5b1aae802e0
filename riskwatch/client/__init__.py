"""What trading systems import: subscription to alerts and to the kill switch."""
