"""How fast commands are decided: the pure rules, their encoding, and one worker over a real broker."""
